"""AntiPaSTO gain: one trained gain for each frozen direction.

    core(h) = S * (1 + ELU(coeff g)) * h            g (r,) = 0, in the frozen basis W ~ U diag(S) P

ELU keeps each gain above 0, and linear above 1. `coeff` scales g on a trained adapter; 0 turns it off.

Frame: Clark, 2601.07473; core after lora-lite (wassname, 2026). Identity at the start: exact, since g = 0.
Trained parameters a target: r.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import elu

from ..configs.frozen_basis import AntiPaSTOGainConfig
from ..frozen_basis import FrozenBasisVariant
from ..variant import Layer, ParamSpec, register


def extra_gain(layer: Layer, cfg: AntiPaSTOGainConfig) -> Float[Tensor, " n"]:
    """ELU(coeff g), in the dtype of S."""
    g = layer.lora_g.to(layer.lora_S.dtype)
    return elu(cfg.coeff * (g.clamp(max=0) if cfg.suppress_only else g))


@register
class AntiPaSTOGain(FrozenBasisVariant[AntiPaSTOGainConfig]):
    config = AntiPaSTOGainConfig

    def core_specs(self, r: int, cfg: AntiPaSTOGainConfig) -> dict[str, ParamSpec]:
        return {"lora_g": ParamSpec((r,))}

    def change(self, layer: Layer, cfg: AntiPaSTOGainConfig, h: Tensor) -> Tensor:
        return h * (layer.lora_S * extra_gain(layer, cfg)).to(h.dtype)
