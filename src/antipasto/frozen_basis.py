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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from .bases import BASES, FrozenBasis, align_signs, anchor_of, determined
from .config import AdapterConfig, AdapterError, choice
from .together import apart
from .variant import Calibrator, Factors, Layer, ParamSpec, Variant, plus


@dataclass(frozen=True, kw_only=True)
class FrozenBasisConfig(AdapterConfig):
    """Fields common to the family.

    Args:
        basis: how the frozen directions are chosen: `svd`; or `wanda`, `asvd` or `corda`, which need calibration
            data.
        act_pool: how wanda pools |x . v_i| over tokens: `rms` or `mean_abs`.
        cov_eps: what asvd and corda add to each second moment; in units of the inputs squared.
    """

    r: int | None = 256
    basis: str = "svd"
    act_pool: str = "rms"
    cov_eps: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("basis", self.basis, tuple(BASES))
        choice("act_pool", self.act_pool, ("rms", "mean_abs"))
        if not 0 < self.cov_eps < float("inf"):
            raise AdapterError(
                f"cov_eps must be above 0, got {self.cov_eps}; without it an unused channel divides by 0"
            )

    def inert(self) -> set[str]:
        unused = {"alpha", "act_pool", "cov_eps"}
        return super().inert() | unused - {"wanda": {"act_pool"}, "svd": set()}.get(self.basis, {"cov_eps"})


class FrozenBasisVariant(Variant):
    """A core inside a frozen basis. A member defines `core_specs`, `change` and `core_macs`."""

    @abstractmethod
    def core_specs(self, r: int, cfg: Any) -> dict[str, ParamSpec]:
        """The trained tensors of the core on r directions."""

    @abstractmethod
    def change(self, layer: Layer, cfg: Any, h: Float[Tensor, "*batch r"]) -> Float[Tensor, "*batch r"]:
        """core(h) - S * h, in h's dtype."""

    def core_macs(self, r: int, cfg: Any) -> int:
        """Multiply-accumulates of the matrix products in `change` for one token; elementwise products count none."""
        return 0

    def calibrator(self, cfg: Any) -> Callable[[Tensor], Calibrator] | None:
        return BASES[cfg.basis].calibrator(cfg)

    def param_specs(self, d_in: int, d_out: int, cfg: Any) -> dict[str, ParamSpec]:
        r = cfg.rank(d_in, d_out)
        return {
            "lora_U": ParamSpec((d_out, r), trained=False),
            "lora_S": ParamSpec((r,), trained=False, full_precision=True),
            "lora_Vh": ParamSpec((r, d_in), trained=False),
            **self.core_specs(r, cfg),
        }

    def init(self, layer: Layer, cfg: Any, W: Tensor, gathered: Any) -> None:
        self._set_basis(layer, BASES[cfg.basis].choose(W, len(layer.lora_S), cfg, gathered))

    def saved(self, layer: Layer, cfg: Any) -> dict[str, Tensor]:
        found = super().saved(layer, cfg)
        if not self.needs_data(cfg):
            found["lora_anchor"] = anchor_of(layer.lora_Vh)
        if self.needs_data(cfg) or not determined(layer.lora_S):
            found |= {"lora_U": layer.lora_U, "lora_S": layer.lora_S, "lora_Vh": layer.lora_Vh}
        return found

    def needed(self, layer: Layer, cfg: Any) -> set[str]:
        basis = {"lora_U", "lora_S", "lora_Vh"} if self.needs_data(cfg) else {"lora_anchor"}
        return set(super().saved(layer, cfg)) | basis

    def restore(self, layer: Layer, cfg: Any, tensors: dict[str, Tensor]) -> None:
        tensors = dict(tensors)
        anchor = tensors.pop("lora_anchor", None)
        if anchor is not None and "lora_Vh" not in tensors:
            found = FrozenBasis(layer.lora_U, layer.lora_S, layer.lora_Vh)
            self._set_basis(layer, align_signs(found, anchor.to(layer.lora_S.device)))
        super().restore(layer, cfg, tensors)

    def _set_basis(self, layer: Layer, basis: FrozenBasis) -> None:
        for name, tensor in zip(("lora_U", "lora_S", "lora_Vh"), basis, strict=True):
            getattr(layer, name).copy_(tensor)

    def forward(self, layer: Layer, cfg: Any, x: Tensor, y: Tensor) -> Tensor:
        h = linear(x, layer.lora_Vh.to(x.dtype))  # (..., r)
        return plus(y, self.change(layer, cfg, h), layer.lora_U)

    def factors(self, layer: Layer, cfg: Any, dtype: torch.dtype) -> Factors:
        # The core is linear: fed the identity, it returns its own matrix, transposed.
        eye = torch.eye(len(layer.lora_S), dtype=dtype, device=layer.lora_S.device)
        with apart(layer):
            core = self.change(layer, cfg, eye).T  # (r, r)
        return Factors(A=layer.lora_Vh.to(dtype), B=layer.lora_U.to(dtype) @ core)

    def added_macs(self, d_in: int, d_out: int, cfg: Any) -> int:
        r = cfg.rank(d_in, d_out)
        return r * (d_in + d_out) + self.core_macs(r, cfg)
