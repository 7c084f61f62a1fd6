"""IA3 on the feed-forward block: a trained gain on each input of a layer.

    y' = (x * g) W^T + b           g (d_in,) = 1, computed as x + x * (g - 1)

By default on the last projection of the feed-forward block.

Liu et al., 2205.05638. Identity at the start: exact, since g = 1.
Trained parameters a target: d_in.
"""

from __future__ import annotations

from torch import Tensor

from ..configs.peers import IA3FFConfig
from ..variant import InputVariant, Layer, ParamSpec, accumulation_dtype, constant, register


@register
class IA3FF(InputVariant[IA3FFConfig]):
    config = IA3FFConfig

    def param_specs(self, d_in: int, d_out: int, cfg: IA3FFConfig) -> dict[str, ParamSpec]:
        return {"lora_g": ParamSpec((d_in,), constant(1.0))}

    def adapt_input(self, layer: Layer, cfg: IA3FFConfig, x: Tensor) -> Tensor:
        return x + x * (layer.lora_g.to(accumulation_dtype(x.dtype)) - 1).to(x.dtype)

    def merged_weight(self, layer: Layer, cfg: IA3FFConfig, W: Tensor) -> Tensor:
        return W * layer.lora_g

    def added_macs(self, d_in: int, d_out: int, cfg: IA3FFConfig) -> int:
        return 0
