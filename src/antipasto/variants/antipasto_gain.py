"""AntiPaSTO gain: one trained gain for each frozen direction.

    core(h) = S * (1 + ELU(coeff g)) * h            g (r,) = 0, in the frozen basis W ~ U diag(S) P

ELU keeps each gain above 0, and linear above 1. `coeff` scales g on a trained adapter; 0 turns it off.

Frame: Clark, 2601.07473; core after lora-lite (wassname, 2026). Identity at the start: exact, since g = 0.
Trained parameters a target: r.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import elu

from ..config import AdapterError, register_config
from ..frozen_basis import FrozenBasisConfig, FrozenBasisVariant
from ..variant import Layer, ParamSpec, register

DEDICATED = {"asvd": "antipasto_asvd", "corda": "antipasto_corda"}  # the variant that is this core on a basis


@register_config
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOGainConfig(FrozenBasisConfig):
    """
    Args:
        coeff: multiplies g; `set_coeff` changes it on an attached adapter.
        suppress_only: compute with min(g, 0), so that a direction can only be turned down. Once an optimizer step
            has made a g positive, its gradient is 0 and it stays where it is.
    """

    variant: ClassVar[str] = "antipasto_gain"

    coeff: float = 1.0
    suppress_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.coeff):
            raise AdapterError(f"coeff must be a finite number, got {self.coeff}")

    def dedicated_variant(self) -> str:
        if self.variant not in ("antipasto_gain", *DEDICATED.values()):
            return self.variant  # another core, with the fields of this one
        return DEDICATED.get(self.basis, "antipasto_gain")


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
