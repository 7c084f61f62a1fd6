"""AntiPaSTO ASVD: the gain core on directions scaled by activations.

    core(h) = S * (1 + ELU(coeff g)) * h            g (r,) = 0, in the basis
    U, S, Q = SVD(W diag(sqrt(c))), P = Q_r diag(1 / sqrt(c)),  c = E[x^2] + eps a channel

Frame: Clark, 2601.07473; core after lora-lite (wassname, 2026); basis after Yuan et al., 2312.05821.
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
class AntiPaSTOASVDConfig(AntiPaSTOGainConfig):
    variant: ClassVar[str] = "antipasto_asvd"

    basis: BasisName = "asvd"


@register
class AntiPaSTOASVD(AntiPaSTOGain):
    config = AntiPaSTOASVDConfig
