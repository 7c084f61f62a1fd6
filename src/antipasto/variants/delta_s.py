"""Delta-S: move the singular values of W, each on its own; with a second set to quarantine a gradient in.

    core(h) = (S + delta + delta_hack) * h          delta, delta_hack (r,) = 0, in the full singular basis of W

By default r is min(d_in, d_out). Routing the gradient of chosen examples into `lora_delta_s_hack` alone, and zeroing
it afterwards, takes out what only they taught: gradient routing (Cloud et al., 2410.04332). See routing.py.

After SVFT with a diagonal (Lingam et al., 2405.19597). Identity at the start: exact, since both are 0.
Trained parameters a target: 2 r.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..config import register_config
from ..frozen_basis import FrozenBasisConfig, FrozenBasisVariant
from ..variant import Layer, ParamSpec, register

PROJECTIONS = (
    "q_proj k_proj v_proj o_proj in_proj_qkv in_proj_z in_proj_a in_proj_b out_proj up_proj gate_proj down_proj".split()
)


@register_config
@dataclass(frozen=True, kw_only=True)
class DeltaSConfig(FrozenBasisConfig):
    """`r` None takes every singular direction of each target."""

    variant: ClassVar[str] = "delta_s"
    full_rank_allowed: ClassVar[bool] = True

    r: int | None = None
    target_names: Sequence[str] = tuple(PROJECTIONS)


@register
class DeltaS(FrozenBasisVariant[DeltaSConfig]):
    config = DeltaSConfig

    def core_specs(self, r: int, cfg: DeltaSConfig) -> dict[str, ParamSpec]:
        return {"lora_delta_s": ParamSpec((r,)), "lora_delta_s_hack": ParamSpec((r,))}

    def change(self, layer: Layer, cfg: DeltaSConfig, h: Tensor) -> Tensor:
        return h * (layer.lora_delta_s.to(layer.lora_S.dtype) + layer.lora_delta_s_hack).to(h.dtype)
