"""AntiPaSTO CorDA: the gain core on directions of the data's covariance.

    core(h) = S * (1 + ELU(coeff g)) * h            g (r,) = 0, in the basis
    U, S, Q = SVD(W C^1/2), P = Q_r C^-1/2,  C = E[x x^T] + eps I

Frame: Clark, 2601.07473; core after lora-lite (wassname, 2026); basis after Yang et al., 2406.05223.
Identity at the start: exact, since g = 0.
Trained parameters a target: r.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..bases import BasisName
from ..config import register_config
from ..variant import register
from .antipasto_gain import AntiPaSTOGain, AntiPaSTOGainConfig


@register_config
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOCorDAConfig(AntiPaSTOGainConfig):
    variant: ClassVar[str] = "antipasto_corda"

    basis: BasisName = "corda"


@register
class AntiPaSTOCorDA(AntiPaSTOGain):
    config = AntiPaSTOCorDAConfig
