"""AntiPaSTO CorDA: the gain core on directions of the data's covariance.

    core(h) = S * (1 + ELU(coeff g)) * h            g (r,) = 0, in the basis
    U, S, Q = SVD(W C^1/2), P = Q_r C^-1/2,  C = E[x x^T] + eps I

Frame: Clark, 2601.07473; core after lora-lite (wassname, 2026); basis after Yang et al., 2406.05223.
Identity at the start: exact, since g = 0.
Trained parameters a target: r.
"""

from __future__ import annotations

from ..configs.frozen_basis import AntiPaSTOCorDAConfig
from ..variant import register
from .antipasto_gain import AntiPaSTOGain


@register
class AntiPaSTOCorDA(AntiPaSTOGain):
    config = AntiPaSTOCorDAConfig
