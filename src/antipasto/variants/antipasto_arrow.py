"""AntiPaSTO arrow: a dense block on the leading directions, one gain on each of the rest.

    z = S * h,   core(h) = [ (I + coeff M) z_b ,  (1 + ELU(coeff g)) * z_rest ]       in the frozen basis

z_b are the first b = `block` directions of the basis, M (b, b) = 0, g (r - b,) = 0.

Frame: Clark, 2601.07473; core after lora-lite (wassname, 2026). Identity at the start: exact, since M = 0 and g = 0.
Trained parameters a target: b^2 + r - b.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..configs.frozen_basis import AntiPaSTOArrowConfig
from ..frozen_basis import FrozenBasisVariant
from ..variant import Layer, ParamSpec, register
from .antipasto_gain import extra_gain


@register
class AntiPaSTOArrow(FrozenBasisVariant[AntiPaSTOArrowConfig]):
    config = AntiPaSTOArrowConfig

    def core_specs(self, r: int, cfg: AntiPaSTOArrowConfig) -> dict[str, ParamSpec]:
        return {"lora_M": ParamSpec((cfg.block, cfg.block)), "lora_g": ParamSpec((r - cfg.block,))}

    def change(self, layer: Layer, cfg: AntiPaSTOArrowConfig, h: Tensor) -> Tensor:
        S_b, S_rest = torch.split(layer.lora_S, [cfg.block, len(layer.lora_S) - cfg.block])
        M = cfg.coeff * layer.lora_M.to(S_b.dtype) * S_b  # (b, b): reads h, not z
        gain = S_rest * extra_gain(layer, cfg)
        h_b, h_rest = torch.split(h, [cfg.block, len(S_rest)], dim=-1)
        return torch.cat([linear(h_b, M.to(h.dtype)), h_rest * gain.to(h.dtype)], dim=-1)

    def core_macs(self, r: int, cfg: AntiPaSTOArrowConfig) -> int:
        return cfg.block**2
