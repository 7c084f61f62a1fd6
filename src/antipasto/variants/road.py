"""RoAd: rotate and scale pairs of outputs.

    y' = R y        within each group of outputs, y_i of its first half pairs with y_j of its second half:
    y_i' = alpha_i cos(theta_i) y_i - beta_i sin(phi_i) y_j
    y_j' = alpha_j cos(theta_j) y_j + beta_j sin(phi_j) y_i

road_1 shares one angle and one scale a pair; road_2 has them for each output (beta = alpha, phi = theta); road_4
has all four for each output. The bias is turned with the rest of y.

Liao and Monz, 2409.00119. Identity at the start: exact, since theta = 0 and alpha = 1.
Trained parameters a target: d_out (road_1), 2 d_out (road_2) or 4 d_out (road_4), half of them angles.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..config import AdapterError
from ..configs.peers import RoadConfig, RoadVariant
from ..variant import Layer, ParamSpec, Variant, accumulation_dtype, constant, register

ANGLES_PER_OUTPUT: dict[RoadVariant, float] = {"road_1": 0.5, "road_2": 1, "road_4": 2}  # and as many scales


@register
class Road(Variant[RoadConfig]):
    config = RoadConfig

    def check(self, d_in: int, d_out: int, cfg: RoadConfig) -> None:
        if d_out % cfg.group_size:
            raise AdapterError(f"d_out={d_out} is not a multiple of group_size={cfg.group_size}; give another")

    def param_specs(self, d_in: int, d_out: int, cfg: RoadConfig) -> dict[str, ParamSpec]:
        size = (int(d_out * ANGLES_PER_OUTPUT[cfg.road_variant]),)
        return {"lora_road_theta": ParamSpec(size), "lora_road_alpha": ParamSpec(size, constant(1.0))}

    def turn(self, layer: Layer, cfg: RoadConfig, y: Float[Tensor, "*batch d_out"]) -> Float[Tensor, "*batch d_out"]:
        """R y."""
        dtype = accumulation_dtype(y.dtype)
        theta, alpha = layer.lora_road_theta.to(dtype), layer.lora_road_alpha.to(dtype)
        if cfg.road_variant == "road_4":  # each group holds the values of the cosines, then those of the sines
            (theta, phi), (alpha, beta) = (
                (halves.flatten() for halves in values.view(-1, 2, cfg.group_size).unbind(1))
                for values in (theta, alpha)
            )
        else:
            if cfg.road_variant == "road_1":  # the two outputs of a pair share one angle and one scale
                theta, alpha = (
                    values.view(-1, 1, cfg.group_size // 2).expand(-1, 2, -1).flatten() for values in (theta, alpha)
                )
            phi, beta = theta, alpha
        halves = (-1, 2, cfg.group_size // 2)
        partner = torch.unflatten(y, -1, halves).flip(-2).flatten(-3)  # (..., d_out), each half in the other's place
        first, second = (beta * phi.sin()).view(halves).unbind(1)
        sine = torch.stack((-first, second), 1)
        near = torch.addcmul(y, y, (alpha * theta.cos() - 1).to(y.dtype))
        return torch.addcmul(near, partner, sine.flatten().to(y.dtype))

    def forward(self, layer: Layer, cfg: RoadConfig, x: Tensor, y: Tensor) -> Tensor:
        return self.turn(layer, cfg, y)

    def merged_weight(self, layer: Layer, cfg: RoadConfig, W: Tensor) -> Tensor:
        return self.turn(layer, cfg, W.T).T

    def merged_bias(self, layer: Layer, cfg: RoadConfig, b: Tensor) -> Tensor:
        return self.turn(layer, cfg, b)

    def added_macs(self, d_in: int, d_out: int, cfg: RoadConfig) -> int:
        return 0
