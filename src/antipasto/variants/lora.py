"""LoRA: a trained low-rank addition to a frozen weight.

    y' = y + (alpha / r) x A^T B^T         A (r, d_in) kaiming-uniform, B (d_out, r) = 0

Hu et al., 2106.09685. Identity at the start: exact, since B = 0.
Trained parameters a target: r (d_in + d_out).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import linear

from ..config import AdapterConfig, register_config
from ..variant import Layer, ParamSpec, Variant, kaiming, register


@register_config
@dataclass(frozen=True, kw_only=True)
class LoRAConfig(AdapterConfig):
    variant: ClassVar[str] = "lora"


@register
class LoRA(Variant):
    config = LoRAConfig

    def param_specs(self, d_in: int, d_out: int, cfg: LoRAConfig) -> dict[str, ParamSpec]:
        return {"lora_A": ParamSpec((cfg.r, d_in), kaiming), "lora_B": ParamSpec((d_out, cfg.r))}

    def forward(self, layer: Layer, cfg: LoRAConfig, x: Tensor, y: Tensor) -> Tensor:
        h = linear(x, layer.lora_A.to(x.dtype))  # (..., r)
        return y + linear(h * (cfg.alpha / cfg.r), layer.lora_B.to(x.dtype))

    def merged_weight(self, layer: Layer, cfg: LoRAConfig, weight: Tensor) -> Tensor:
        A, B = layer.lora_A.to(weight.dtype), layer.lora_B.to(weight.dtype)
        return weight + (cfg.alpha / cfg.r) * (B @ A)

    def added_macs(self, d_in: int, d_out: int, cfg: LoRAConfig) -> int:
        return cfg.r * (d_in + d_out)
