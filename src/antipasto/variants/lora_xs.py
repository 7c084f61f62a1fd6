"""LoRA-XS: a small square matrix between frozen singular vectors.

    core(h) = S * h + (alpha / r) R (S * h)         R (r, r) ~ N(0, 1e-5), in the frozen basis W ~ U diag(S) P

Balazy et al., 2405.17604. Identity at the start: to about 1e-5 of W, since R is tiny and not 0.
Trained parameters a target: r^2.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear

from ..configs.frozen_basis import LoRAXSConfig
from ..frozen_basis import FrozenBasisVariant
from ..variant import Layer, ParamSpec, normal, register


@register
class LoRAXS(FrozenBasisVariant[LoRAXSConfig]):
    config = LoRAXSConfig

    def core_specs(self, r: int, cfg: LoRAXSConfig) -> dict[str, ParamSpec]:
        return {"lora_R": ParamSpec((r, r), normal(0.0, 1e-5))}

    def change(self, layer: Layer, cfg: LoRAXSConfig, h: Tensor) -> Tensor:
        R = cfg.scale * layer.lora_R.to(layer.lora_S.dtype) * layer.lora_S  # (r, r): reads h, not S h
        return linear(h, R.to(h.dtype))

    def core_macs(self, r: int, cfg: LoRAXSConfig) -> int:
        return r * r
