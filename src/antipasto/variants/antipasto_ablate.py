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

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from ..configs.frozen_basis import AntiPaSTOAblateConfig
from ..decompositions import orthonormal_columns
from ..frozen_basis import FrozenBasisVariant
from ..variant import Layer, ParamSpec, at_least_float32, constant, normal, register


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
