"""EVA: LoRA whose A starts on the directions in which the layer's inputs vary most.

    y' = y + (alpha / r) x A^T B^T         A (r, d_in) = top r right singular vectors of the inputs X, B = 0

X are the inputs of the calibration tokens, pooled and not centred; their right singular vectors are the
eigenvectors of X^T X, which is streamed. A trains too.

Paischer et al., 2410.07170. Identity at the start: exact, since B = 0.
Trained parameters a target: r (d_in + d_out).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..config import AdapterConfig
from ..configs.peers import EVAConfig
from ..decompositions import eigh
from ..moments import Covariance
from ..variant import Layer, register
from .lora import LoRA


@register
class EVA(LoRA):
    config = EVAConfig

    def calibrator(self, cfg: AdapterConfig) -> Callable[[Tensor], Covariance]:
        return Covariance

    def init(self, layer: Layer, cfg: AdapterConfig, W: Tensor, gathered: Covariance) -> None:
        _, vectors = eigh(gathered.mean())  # eigenvalues ascending, (d_in, d_in)
        layer.lora_A.copy_(vectors[:, -len(layer.lora_A) :].flip(1).T)
