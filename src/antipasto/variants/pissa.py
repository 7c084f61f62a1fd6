"""PiSSA: train the principal part of W itself, freeze the rest.

    y' = x W_res^T + x A^T B^T             B = U sqrt(S), A = sqrt(S) Vh, W_res = W - B A   at the start

with U, S, Vh the top r of SVD(W). W_res takes the place of W in the layer while the adapter is attached;
`detach` and `disabled` put W back, bit for bit.

Meng et al., 2404.02948. Identity at the start: to rounding, since W_res is rounded to W's dtype.
Trained parameters a target: r (d_in + d_out).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..config import AdapterConfig
from ..configs.peers import PiSSAConfig
from ..svd_cache import svd
from ..variant import Factors, Layer, register
from .lora import LoRA


@register
class PiSSA(LoRA):
    config = PiSSAConfig
    quantised = False  # W_res would have to be quantised again

    def init(self, layer: Layer, cfg: AdapterConfig, W: Tensor, gathered: None) -> None:
        r = len(layer.lora_A)
        U, S, Vh = svd(W)
        root = S[:r].sqrt()
        layer.lora_A.copy_(root[:, None] * Vh[:r])
        layer.lora_B.copy_(U[:, :r] * root)

    def extracted_factors(self, layer: Layer, cfg: AdapterConfig) -> Factors:
        return Factors(A=layer.lora_A.detach().clone(), B=layer.lora_B.detach().clone())

    def forward(self, layer: Layer, cfg: AdapterConfig, x: Tensor, y: Tensor) -> Tensor:
        return y + linear(linear(x, layer.lora_A.to(x.dtype)), layer.lora_B.to(x.dtype))

    def factors(self, layer: Layer, cfg: AdapterConfig, dtype: torch.dtype) -> Factors:
        return Factors(A=layer.lora_A.to(dtype), B=layer.lora_B.to(dtype))
