"""AntiPaSTO diagonal plus low rank: a gain on each direction, and a small LoRA among them.

    core(h) = S * (1 + ELU(coeff g)) * h + coeff B (A h)        in the frozen basis W ~ U diag(S) P

g (r,) = 0, A (k, r) kaiming-uniform, B (r, k) = 0, k = `lora_rank`.

Frame: Clark, 2601.07473; core after lora-lite (wassname, 2026). Identity at the start: exact, since g = 0 and B = 0.
Trained parameters a target: r + 2 r k.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear

from ..configs.frozen_basis import AntiPaSTODPLRConfig
from ..frozen_basis import FrozenBasisVariant
from ..variant import Layer, ParamSpec, kaiming, register
from .antipasto_gain import extra_gain


@register
class AntiPaSTODPLR(FrozenBasisVariant[AntiPaSTODPLRConfig]):
    config = AntiPaSTODPLRConfig

    def core_specs(self, r: int, cfg: AntiPaSTODPLRConfig) -> dict[str, ParamSpec]:
        k = cfg.lora_rank
        return {"lora_g": ParamSpec((r,)), "lora_A": ParamSpec((k, r), kaiming), "lora_B": ParamSpec((r, k))}

    def change(self, layer: Layer, cfg: AntiPaSTODPLRConfig, h: Tensor) -> Tensor:
        mixed = linear(linear(h, layer.lora_A.to(h.dtype)), cfg.coeff * layer.lora_B.to(h.dtype))
        return h * (layer.lora_S * extra_gain(layer, cfg)).to(h.dtype) + mixed

    def core_macs(self, r: int, cfg: AntiPaSTODPLRConfig) -> int:
        return 2 * r * cfg.lora_rank
