"""Delta-S: move the singular values of W, each on its own; with a second set to quarantine a gradient in.

    core(h) = (S + delta + delta_hack) * h          delta, delta_hack (r,) = 0, in the full singular basis of W

By default r is min(d_in, d_out). Routing the gradient of chosen examples into `lora_delta_s_hack` alone, and zeroing
it afterwards, takes out what only they taught: gradient routing (Cloud et al., 2410.04332). See routing.py.

After SVFT with a diagonal (Lingam et al., 2405.19597). Identity at the start: exact, since both are 0.
Trained parameters a target: 2 r.
"""

from __future__ import annotations

from torch import Tensor

from ..configs.frozen_basis import DeltaSConfig
from ..frozen_basis import FrozenBasisVariant
from ..variant import Layer, ParamSpec, register


@register
class DeltaS(FrozenBasisVariant[DeltaSConfig]):
    config = DeltaSConfig

    def core_specs(self, r: int, cfg: DeltaSConfig) -> dict[str, ParamSpec]:
        return {"lora_delta_s": ParamSpec((r,)), "lora_delta_s_hack": ParamSpec((r,))}

    def change(self, layer: Layer, cfg: DeltaSConfig, h: Tensor) -> Tensor:
        return h * (layer.lora_delta_s.to(layer.lora_S.dtype) + layer.lora_delta_s_hack).to(h.dtype)
