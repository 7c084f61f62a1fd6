"""The frozen-basis family: freeze directions of W, train a small core inside them.

    W ~ U diag(S) P                        frozen, chosen by a basis (bases.py)
    h  = x P^T                             (..., r)  the input's coordinates in the frozen directions
    y' = y + (core(h) - S * h) U^T         y is the untouched layer's own output

It equals the published form x W_res^T + core(h) U^T with W_res = W - U diag(S) P, but needs no W_res: where
core(h) = S * h the output is the base model's, bit for bit, and no residual is rounded to the base's dtype.

A member of the family defines only `change(h) = core(h) - S * h`, linear in h. It computes that difference directly,
not as two nearly equal terms, so that a small change is not lost to rounding in bfloat16.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from .bases import BASES, FrozenBasis, align_signs, directions_are_unique, sign_anchor
from .batched import computed_alone
from .configs.frozen_basis import FrozenBasisConfig as FrozenBasisConfig  # a member's file has it from here
from .variant import Calibrator, Factors, Layer, ParamSpec, Variant, add_low_rank

BasisConfigT = TypeVar("BasisConfigT", bound=FrozenBasisConfig)


class FrozenBasisVariant(Variant[BasisConfigT]):
    """A core inside a frozen basis. A member defines `core_specs`, `change` and `core_macs`."""

    @abstractmethod
    def core_specs(self, r: int, cfg: BasisConfigT) -> dict[str, ParamSpec]:
        """The trained tensors of the core on r directions."""

    @abstractmethod
    def change(self, layer: Layer, cfg: BasisConfigT, h: Float[Tensor, "*batch r"]) -> Float[Tensor, "*batch r"]:
        """core(h) - S * h, in h's dtype."""

    def core_macs(self, r: int, cfg: BasisConfigT) -> int:
        """Multiply-accumulates of the matrix products in `change` for one token; elementwise products count none."""
        return 0

    def calibrator(self, cfg: BasisConfigT) -> Callable[[Tensor], Calibrator] | None:
        return BASES[cfg.basis].calibrator(cfg)

    def param_specs(self, d_in: int, d_out: int, cfg: BasisConfigT) -> dict[str, ParamSpec]:
        r = cfg.rank(d_in, d_out)
        return {
            "lora_U": ParamSpec((d_out, r), trained=False),
            "lora_S": ParamSpec((r,), trained=False, full_precision=True),
            "lora_Vh": ParamSpec((r, d_in), trained=False),
            **self.core_specs(r, cfg),
        }

    def init(self, layer: Layer, cfg: BasisConfigT, W: Tensor, gathered: Any) -> None:
        self._set_basis(layer, BASES[cfg.basis].choose(W, len(layer.lora_S), cfg, gathered))

    def tensors_to_save(self, layer: Layer, cfg: BasisConfigT) -> dict[str, Tensor]:
        tensors = super().tensors_to_save(layer, cfg)
        if not cfg.needs_data():
            tensors["lora_anchor"] = sign_anchor(layer.lora_Vh)
        if cfg.needs_data() or not directions_are_unique(layer.lora_S):
            tensors |= {"lora_U": layer.lora_U, "lora_S": layer.lora_S, "lora_Vh": layer.lora_Vh}
        return tensors

    def required_names(self, layer: Layer, cfg: BasisConfigT) -> set[str]:
        basis = {"lora_U", "lora_S", "lora_Vh"} if cfg.needs_data() else {"lora_anchor"}
        return set(super().tensors_to_save(layer, cfg)) | basis

    def restore(self, layer: Layer, cfg: BasisConfigT, tensors: dict[str, Tensor]) -> None:
        tensors = dict(tensors)
        anchor = tensors.pop("lora_anchor", None)
        if anchor is not None and "lora_Vh" not in tensors:
            basis = FrozenBasis(layer.lora_U, layer.lora_S, layer.lora_Vh)
            self._set_basis(layer, align_signs(basis, anchor.to(layer.lora_S.device)))
        super().restore(layer, cfg, tensors)

    def _set_basis(self, layer: Layer, basis: FrozenBasis) -> None:
        for name, tensor in zip(("lora_U", "lora_S", "lora_Vh"), basis, strict=True):
            getattr(layer, name).copy_(tensor)

    def forward(self, layer: Layer, cfg: BasisConfigT, x: Tensor, y: Tensor) -> Tensor:
        h = linear(x, layer.lora_Vh.to(x.dtype))  # (..., r)
        return add_low_rank(y, self.change(layer, cfg, h), layer.lora_U)

    def factors(self, layer: Layer, cfg: BasisConfigT, dtype: torch.dtype) -> Factors:
        # The core is linear: fed the identity, it returns its own matrix, transposed.
        eye = torch.eye(len(layer.lora_S), dtype=dtype, device=layer.lora_S.device)
        with computed_alone(layer):
            core = self.change(layer, cfg, eye).T  # (r, r)
        return Factors(A=layer.lora_Vh.to(dtype), B=layer.lora_U.to(dtype) @ core)

    def added_macs(self, d_in: int, d_out: int, cfg: BasisConfigT) -> int:
        r = cfg.rank(d_in, d_out)
        return r * (d_in + d_out) + self.core_macs(r, cfg)
