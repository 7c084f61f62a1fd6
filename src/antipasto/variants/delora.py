"""DeLoRA: LoRA with normalised rank-one terms and one trained length for all of them.

    y' = y + x diag(w) A^T diag(lambda / (r ||a_i|| ||b_i||)) B^T        A kaiming-uniform, B = 0, lambda ()

a_i are the rows of A, b_i the columns of B, norms floored at 1e-4, and w (d_in,) the column norms of W: the bound
on the change is a share of each input channel's own weight.

Bini et al., 2503.18225. Identity at the start: exact, since B = 0.
Trained parameters a target: r (d_in + d_out) + 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from ..configs.peers import DeLoRAConfig
from ..variant import Factors, Layer, ParamSpec, Variant, add_low_rank, at_least_float32, constant, kaiming, register

FLOOR = 1e-4


@register
class DeLoRA(Variant[DeLoRAConfig]):
    config = DeLoRAConfig

    def param_specs(self, d_in: int, d_out: int, cfg: DeLoRAConfig) -> dict[str, ParamSpec]:
        r = cfg.rank(d_in, d_out)
        return {
            "lora_A": ParamSpec((r, d_in), kaiming),
            "lora_B": ParamSpec((d_out, r)),
            "lora_lambda": ParamSpec((), constant(cfg.lambda0)),
            "lora_w": ParamSpec((d_in,), trained=False, full_precision=True),
        }

    def init(self, layer: Layer, cfg: DeLoRAConfig, W: Tensor, gathered: None) -> None:
        layer.lora_w.copy_(at_least_float32(W).norm(dim=0))

    def lengths(self, layer: Layer, dtype: torch.dtype) -> Float[Tensor, " r"]:
        """lambda / (r ||a_i|| ||b_i||)"""
        A, B = layer.lora_A.to(dtype), layer.lora_B.to(dtype)
        a, b = A.norm(dim=1).clamp(min=FLOOR), B.norm(dim=0).clamp(min=FLOOR)
        lengths: Float[Tensor, " r"] = layer.lora_lambda.to(dtype) / (len(A) * a * b)
        return lengths

    def forward(self, layer: Layer, cfg: DeLoRAConfig, x: Tensor, y: Tensor) -> Tensor:
        # The lengths are huge while B is tiny: only their product fits a small dtype.
        B = layer.lora_B * self.lengths(layer, layer.lora_w.dtype)  # (d_out, r)
        h = linear(x, (layer.lora_A * layer.lora_w).to(x.dtype))  # (..., r)
        return add_low_rank(y, h, B)

    def factors(self, layer: Layer, cfg: DeLoRAConfig, dtype: torch.dtype) -> Factors:
        return Factors(
            A=layer.lora_A.to(dtype) * layer.lora_w.to(dtype), B=layer.lora_B.to(dtype) * self.lengths(layer, dtype)
        )

    def added_macs(self, d_in: int, d_out: int, cfg: DeLoRAConfig) -> int:
        return cfg.rank(d_in, d_out) * (d_in + d_out)
