"""AntiPaSTO ASVD: the gain core on directions scaled by activations.

    core(h) = S * (1 + ELU(coeff g)) * h            g (r,) = 0, in the basis
    U, S, Q = SVD(W diag(sqrt(c))), P = Q_r diag(1 / sqrt(c)),  c = E[x^2] + eps a channel

Frame: Clark, 2601.07473; core after lora-lite (wassname, 2026); basis after Yuan et al., 2312.05821.
Identity at the start: exact, since g = 0.
Trained parameters a target: r.
"""

from __future__ import annotations

from ..configs.frozen_basis import AntiPaSTOASVDConfig
from ..variant import register
from .antipasto_gain import AntiPaSTOGain


@register
class AntiPaSTOASVD(AntiPaSTOGain):
    config = AntiPaSTOASVDConfig
