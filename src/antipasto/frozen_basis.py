"""The frozen-basis family: freeze directions of W, train a small core inside them.

    W ~ U diag(S) P                        frozen, chosen by a basis (bases.py)
    h  = x P^T                             (..., r)  what each frozen direction reads
    y' = y + (core(h) - S * h) U^T         y is the untouched layer's own output

It is the published form x W_res^T + core(h) U^T, W_res = W - U diag(S) P, written so that W stays whole: where
core(h) = S * h the output is the base model's, bit for bit, and no residual is ever rounded.

A member of the family says only what its core changes: `change(h) = core(h) - S * h`, linear in h. Writing the
difference itself, not two nearly equal terms, is what keeps it exact in bfloat16.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from .bases import BASES, FrozenBasis, align_signs, anchor_of
from .config import AdapterConfig, choice
from .variant import Calibrator, Layer, ParamSpec, Variant, at_least_float32


@dataclass(frozen=True, kw_only=True)
class FrozenBasisConfig(AdapterConfig):
    """Fields common to the family.

    Args:
        basis: how the frozen directions are chosen: `svd`, or `wanda` (needs calibration data).
        act_pool: how wanda pools |x . v_i| over tokens: `rms` or `mean_abs`.
    """

    r: int = 256
    basis: str = "svd"
    act_pool: str = "rms"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("basis", self.basis, tuple(BASES))
        choice("act_pool", self.act_pool, ("rms", "mean_abs"))

    def inert(self) -> set[str]:
        return super().inert() | {"alpha"} | (set() if self.basis == "wanda" else {"act_pool"})


class FrozenBasisVariant(Variant):
    """A core inside a frozen basis. A member defines `core_specs`, `change` and `core_macs`."""

    @abstractmethod
    def core_specs(self, cfg: Any) -> dict[str, ParamSpec]:
        """The trained tensors of the core."""

    @abstractmethod
    def change(self, layer: Layer, cfg: Any, h: Float[Tensor, "*batch r"]) -> Float[Tensor, "*batch r"]:
        """core(h) - S * h, in h's dtype."""

    @abstractmethod
    def core_macs(self, cfg: Any) -> int:
        """Multiply-accumulates of `change` for one token."""

    def needs_data(self, cfg: Any) -> bool:
        return BASES[cfg.basis].needs_data

    def param_specs(self, d_in: int, d_out: int, cfg: Any) -> dict[str, ParamSpec]:
        return {
            "lora_U": ParamSpec((d_out, cfg.r), trained=False),
            "lora_S": ParamSpec((cfg.r,), trained=False, full_precision=True),
            "lora_Vh": ParamSpec((cfg.r, d_in), trained=False),
            **self.core_specs(cfg),
        }

    def calibrator(self, layer: Layer, cfg: Any) -> Calibrator | None:
        return BASES[cfg.basis].calibrator(at_least_float32(layer.weight.detach()), cfg)

    def init(self, layer: Layer, cfg: Any, calibrator: Calibrator | None) -> None:
        W = at_least_float32(layer.weight.detach())
        self._set_basis(layer, BASES[cfg.basis].choose(W, cfg, cast(Any, calibrator)))

    def saved(self, layer: Layer, cfg: Any) -> dict[str, Tensor]:
        if self.needs_data(cfg):
            basis = {"lora_U": layer.lora_U, "lora_S": layer.lora_S, "lora_Vh": layer.lora_Vh}
        else:
            basis = {"lora_anchor": anchor_of(layer.lora_Vh)}
        return super().saved(layer, cfg) | basis

    def restore(self, layer: Layer, cfg: Any, tensors: dict[str, Tensor]) -> None:
        tensors = dict(tensors)
        anchor = tensors.pop("lora_anchor", None)
        if anchor is not None:
            found = FrozenBasis(layer.lora_U, layer.lora_S, layer.lora_Vh)
            self._set_basis(layer, align_signs(found, anchor.to(layer.lora_S.device)))
        super().restore(layer, cfg, tensors)

    def _set_basis(self, layer: Layer, basis: FrozenBasis) -> None:
        for name, tensor in zip(("lora_U", "lora_S", "lora_Vh"), basis, strict=True):
            getattr(layer, name).copy_(tensor)

    def forward(self, layer: Layer, cfg: Any, x: Tensor, y: Tensor) -> Tensor:
        h = linear(x, layer.lora_Vh.to(x.dtype))  # (..., r)
        return y + linear(self.change(layer, cfg, h), layer.lora_U.to(x.dtype))

    def merged_weight(self, layer: Layer, cfg: Any, weight: Tensor) -> Tensor:
        # The core is linear: fed the identity, it returns its own matrix, transposed.
        eye = torch.eye(cfg.r, dtype=weight.dtype, device=weight.device)
        core = self.change(layer, cfg, eye).T  # (r, r)
        return weight + layer.lora_U.to(weight.dtype) @ core @ layer.lora_Vh.to(weight.dtype)

    def added_macs(self, d_in: int, d_out: int, cfg: Any) -> int:
        return cfg.r * (d_in + d_out) + self.core_macs(cfg)
