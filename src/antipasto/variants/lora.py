"""LoRA: a trained low-rank addition to a frozen weight.

    y' = y + (alpha / r) x A^T B^T         A (r, d_in) kaiming-uniform, B (d_out, r) = 0

Hu et al., 2106.09685. Identity at the start: exact, since B = 0.
Trained parameters a target: r (d_in + d_out).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..config import AdapterConfig
from ..configs.peers import LoRAConfig
from ..variant import Factors, Layer, ParamSpec, Variant, add_low_rank, kaiming, register


@register
class LoRA(Variant[AdapterConfig]):
    config: ClassVar[type[AdapterConfig]] = LoRAConfig

    def param_specs(self, d_in: int, d_out: int, cfg: AdapterConfig) -> dict[str, ParamSpec]:
        r = cfg.rank(d_in, d_out)
        return {"lora_A": ParamSpec((r, d_in), kaiming), "lora_B": ParamSpec((d_out, r))}

    def forward(self, layer: Layer, cfg: AdapterConfig, x: Tensor, y: Tensor) -> Tensor:
        h = linear(x, layer.lora_A.to(x.dtype))  # (..., r)
        return add_low_rank(y, h, layer.lora_B, cfg.scale)

    def factors(self, layer: Layer, cfg: AdapterConfig, dtype: torch.dtype) -> Factors | None:
        return Factors(A=layer.lora_A.to(dtype), B=cfg.scale * layer.lora_B.to(dtype))

    def added_macs(self, d_in: int, d_out: int, cfg: AdapterConfig) -> int:
        return cfg.rank(d_in, d_out) * (d_in + d_out)
