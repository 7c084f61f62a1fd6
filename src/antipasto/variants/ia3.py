"""IA3: a trained gain on each output of a layer.

    y' = y * g                     g (d_out,) = 1, computed as y + y * (g - 1)

so that a bfloat16 activation does not round g. By default on the keys and values of attention.

Liu et al., 2205.05638. Identity at the start: exact, since g = 1.
Trained parameters a target: d_out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..configs.peers import IA3Config
from ..variant import Layer, ParamSpec, Variant, accumulation_dtype, constant, register


@register
class IA3(Variant[IA3Config]):
    config = IA3Config

    def param_specs(self, d_in: int, d_out: int, cfg: IA3Config) -> dict[str, ParamSpec]:
        return {"lora_g": ParamSpec((d_out,), constant(1.0))}

    def forward(self, layer: Layer, cfg: IA3Config, x: Tensor, y: Tensor) -> Tensor:
        return torch.addcmul(y, y, (layer.lora_g.to(accumulation_dtype(y.dtype)) - 1).to(y.dtype))

    def merged_weight(self, layer: Layer, cfg: IA3Config, W: Tensor) -> Tensor:
        return W * layer.lora_g[:, None]

    def merged_bias(self, layer: Layer, cfg: IA3Config, b: Tensor) -> Tensor:
        return b * layer.lora_g

    def added_macs(self, d_in: int, d_out: int, cfg: IA3Config) -> int:
        return 0
