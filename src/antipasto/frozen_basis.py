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
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from .bases import BASES, BasisName, FrozenBasis, align_signs, directions_are_unique, sign_anchor
from .batched import computed_alone
from .config import AdapterConfig, AdapterError, require_choice
from .moments import ActPool
from .variant import Calibrator, Factors, Layer, ParamSpec, Variant, add_low_rank


@dataclass(frozen=True, kw_only=True)
class FrozenBasisConfig(AdapterConfig):
    """Fields common to the family.

    Args:
        basis: how the frozen directions are chosen: `svd`; or `wanda`, `asvd` or `corda`, which need calibration
            data.
        act_pool: how wanda pools |x . v_i| over tokens: `rms`, or `mean_abs`, which is the default of `antipasto`.
        cov_eps: what asvd and corda add to each second moment; in units of the inputs squared.
    """

    r: int | None = 256
    basis: BasisName = "svd"
    act_pool: ActPool = "rms"
    cov_eps: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("basis", self.basis, get_args(BasisName))
        require_choice("act_pool", self.act_pool, get_args(ActPool))
        if not 0 < self.cov_eps < float("inf"):
            raise AdapterError(
                f"cov_eps must be above 0, got {self.cov_eps}; without it an unused channel divides by 0"
            )

    def unused_fields(self) -> set[str]:
        unused = super().unused_fields() | {"alpha"}
        if self.basis != "wanda":
            unused |= {"act_pool"}
        if self.basis not in ("asvd", "corda"):
            unused |= {"cov_eps"}
        return unused


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
        if not self.needs_data(cfg):
            tensors["lora_anchor"] = sign_anchor(layer.lora_Vh)
        if self.needs_data(cfg) or not directions_are_unique(layer.lora_S):
            tensors |= {"lora_U": layer.lora_U, "lora_S": layer.lora_S, "lora_Vh": layer.lora_Vh}
        return tensors

    def required_names(self, layer: Layer, cfg: BasisConfigT) -> set[str]:
        basis = {"lora_U", "lora_S", "lora_Vh"} if self.needs_data(cfg) else {"lora_anchor"}
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
