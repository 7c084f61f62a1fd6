"""AntiPaSTO ablate: take a few trained directions out of what a layer computes.

    z = S * h,   core(h) = z - coeff C (alpha * (C^T z))        in the frozen basis W ~ U diag(S) P

C (r, k) is `lora_c` with its columns made orthonormal, alpha `lora_alpha` clamped to [0, 1]. With coeff in [0, 1]
the matrix that acts on z has eigenvalues in [0, 1]: it can only take away. The idea of directional ablation (Arditi et
al., 2406.11717), inside the singular basis and trained.

Frame: Clark, 2601.07473; core after lora-lite (wassname, 2026).
Identity at the start: not exact, since alpha starts at init_alpha; exact at coeff = 0.
Trained parameters a target: r k + k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from ..config import AdapterError, register_config
from ..decompositions import orthonormal_columns
from ..frozen_basis import FrozenBasisConfig, FrozenBasisVariant
from ..variant import Layer, ParamSpec, at_least_float32, constant, normal, register


@register_config
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOAblateConfig(FrozenBasisConfig):
    """
    Args:
        k: number of directions to take out, at most r.
        init_alpha: share of each direction that is taken out at the start, in [0, 1].
        coeff: scales alpha, in [0, 1]; `set_coeff` changes it on an attached adapter.
        allow_amplify: allow a negative coeff, which amplifies the directions. It computes nothing by itself, but it is
            no unused field: it says what `set_coeff` accepts after training.
        cov_orient: another way to write basis=corda.
    """

    variant: ClassVar[str] = "antipasto_ablate"

    k: int = 1
    init_alpha: float = 0.05
    coeff: float = 1.0
    allow_amplify: bool = False
    cov_orient: bool = False

    def __post_init__(self) -> None:
        if self.cov_orient and self.basis == "svd":
            object.__setattr__(self, "basis", "corda")
        super().__post_init__()
        if self.cov_orient and self.basis != "corda":
            raise AdapterError(f"cov_orient=True means basis=corda, got basis={self.basis!r}; give one of them")
        if not isinstance(self.k, int) or self.k < 1 or (self.r is not None and self.k > self.r):
            raise AdapterError(f"k must lie between 1 and r={self.r}, got {self.k}")
        if not 0 <= self.init_alpha <= 1:
            raise AdapterError(f"init_alpha must lie in [0, 1], got {self.init_alpha}")
        if not math.isfinite(self.coeff) or self.coeff > 1 or self.coeff < (-math.inf if self.allow_amplify else 0):
            hint = "; a negative one needs allow_amplify=True" if self.coeff < 0 else ""
            raise AdapterError(f"coeff must lie in [0, 1] for antipasto_ablate, got {self.coeff}{hint}")

    def unused_fields(self) -> set[str]:
        return super().unused_fields() | {"cov_orient"}  # basis says the same


@register
class AntiPaSTOAblate(FrozenBasisVariant[AntiPaSTOAblateConfig]):
    config = AntiPaSTOAblateConfig

    def core_specs(self, r: int, cfg: AntiPaSTOAblateConfig) -> dict[str, ParamSpec]:
        return {
            "lora_c": ParamSpec((r, cfg.k), normal(0.0, 1 / math.sqrt(r))),
            "lora_alpha": ParamSpec((cfg.k,), constant(cfg.init_alpha)),
        }

    def directions(self, layer: Layer) -> Float[Tensor, "r k"]:
        """Orthonormal columns, in the dtype of S."""
        return orthonormal_columns(at_least_float32(layer.lora_c.to(layer.lora_S.dtype)))

    def change(self, layer: Layer, cfg: AntiPaSTOAblateConfig, h: Tensor) -> Tensor:
        C, alpha = self.directions(layer), layer.lora_alpha.to(layer.lora_S.dtype).clamp(0, 1)
        reads = layer.lora_S[:, None] * C * (-cfg.coeff * alpha)  # (r, k)
        return linear(linear(h, reads.T.to(h.dtype)), C.to(h.dtype))

    def core_macs(self, r: int, cfg: AntiPaSTOAblateConfig) -> int:
        return 2 * r * cfg.k
