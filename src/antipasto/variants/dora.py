"""DoRA: LoRA for the direction of each row of W, a trained number for its length.

    V  = W + (alpha / r) B A
    y' = (m / ||V||) * (y - b + (alpha / r) x A^T B^T) + b        m (d_out,) = ||W||, A kaiming-uniform, B = 0

with the norms taken row by row. ||V|| is a constant to autograd, as section 4.3 of the paper advises. What is
computed is the difference to y, with c = m / ||V||:  y' = y + (c - 1) * (y - b) + c * (alpha / r) x A^T B^T.
Where m is bfloat16, so are the norms: they are equal at the start.

Liu et al., 2402.09353. Identity at the start: exact, since c = 1 and B = 0.
Trained parameters a target: r (d_in + d_out) + d_out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from ..config import AdapterConfig
from ..configs.peers import DoRAConfig
from ..quantised import weight_of
from ..variant import Layer, ParamSpec, add_low_rank, at_least_float32, bias_of, register
from .lora import LoRA


@register
class DoRA(LoRA):
    config = DoRAConfig

    def param_specs(self, d_in: int, d_out: int, cfg: AdapterConfig) -> dict[str, ParamSpec]:
        return super().param_specs(d_in, d_out, cfg) | {"lora_m": ParamSpec((d_out,))}

    def init(self, layer: Layer, cfg: AdapterConfig, W: Tensor, gathered: None) -> None:
        layer.lora_m.copy_(at_least_float32(W).norm(dim=1))

    def direction(self, layer: Layer, cfg: AdapterConfig, W: Tensor) -> Float[Tensor, "d_out d_in"]:
        """V, in the dtype of W."""
        return W + cfg.scale * (layer.lora_B.to(W.dtype) @ layer.lora_A.to(W.dtype))

    def gain(self, layer: Layer, cfg: AdapterConfig, W: Float[Tensor, "d_out d_in"]) -> Float[Tensor, " d_out"]:
        """c = m / ||V||, in the dtype of W, which is at least float32."""
        with torch.no_grad():
            # Rounded as m is, so that c = 1 at the start; divided in float32.
            norms = at_least_float32(self.direction(layer, cfg, W).norm(dim=1).to(layer.lora_m.dtype))
            empty = norms == 0  # a row of zeros has no direction, and keeps its length
        return torch.where(empty, 1.0, at_least_float32(layer.lora_m) / torch.where(empty, 1.0, norms)).to(W.dtype)

    def forward(self, layer: Layer, cfg: AdapterConfig, x: Tensor, y: Tensor) -> Tensor:
        c = self.gain(layer, cfg, at_least_float32(weight_of(layer)))
        bias = bias_of(layer)
        plain = y if bias is None else y - bias.to(y.dtype)
        h = linear(x, layer.lora_A.to(x.dtype))  # (..., r)
        return add_low_rank(torch.addcmul(y, plain, (c - 1).to(y.dtype)), h, c[:, None] * layer.lora_B, cfg.scale)

    def factors(self, layer: Layer, cfg: AdapterConfig, dtype: torch.dtype) -> None:
        return None  # scaled rows of W are no thin product

    def merged_weight(self, layer: Layer, cfg: AdapterConfig, W: Tensor) -> Tensor:
        return self.gain(layer, cfg, W)[:, None] * self.direction(layer, cfg, W)
