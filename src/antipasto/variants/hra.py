"""HRA: a chain of trained Householder reflections before the layer.

    x' = x H_(r-1) ... H_0,   that is  W' = W H_0 ... H_(r-1)        H_i = I - 2 u_i u_i^T / ||u_i||^2

The product is applied in its compact WY form: with V the unit rows u_i / ||u_i||, and L = tril(V V^T, -1) + I / 2,

    x' = x - (x V^T) L^-1 V

which is two thin matrix products in place of r reflections one after another (Schreiber and Van Loan, 1989).

Yuan et al., 2405.17484. Identity at the start: to rounding; rows come in equal pairs, and H_i H_i = I.
Trained parameters a target: r d_in.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn.functional import linear

from ..config import AdapterError
from ..configs.peers import HRAConfig
from ..decompositions import unit
from ..variant import Factors, InputVariant, Layer, ParamSpec, accumulation_dtype, kaiming, register


def paired(tensor: Tensor, generator: Generator) -> Tensor:
    """Kaiming-uniform rows, each of them twice."""
    half = kaiming(tensor.new_empty(tensor.shape[0] // 2, tensor.shape[1]), generator)
    return tensor.copy_(half.repeat_interleave(2, dim=0))


@register
class HRA(InputVariant[HRAConfig]):
    config = HRAConfig

    def check(self, d_in: int, d_out: int, cfg: HRAConfig) -> None:
        if cfg.rank(d_in, d_out) > d_in:
            raise AdapterError(f"r={cfg.r} reflections in {d_in} dimensions; lower the rank to at most {d_in}")

    def param_specs(self, d_in: int, d_out: int, cfg: HRAConfig) -> dict[str, ParamSpec]:
        return {"lora_U": ParamSpec((cfg.rank(d_in, d_out), d_in), paired)}

    def wy(self, layer: Layer, dtype: torch.dtype) -> Factors:
        """V and V^T L^-T: x' = x - (x V^T) (V^T L^-T)^T, in `dtype`."""
        V = unit(layer.lora_U.to(dtype), dim=1)  # (r, d_in)
        L = (V @ V.T).tril(-1) + torch.eye(len(V), dtype=dtype, device=V.device) / 2
        return Factors(A=V, B=torch.linalg.solve_triangular(L, V, upper=False).T)

    def adapt_input(self, layer: Layer, cfg: HRAConfig, x: Tensor) -> Tensor:
        thin = self.wy(layer, accumulation_dtype(x.dtype))
        return x - linear(linear(x, thin.A.to(x.dtype)), thin.B.to(x.dtype))

    def merged_weight(self, layer: Layer, cfg: HRAConfig, W: Tensor) -> Tensor:
        thin = self.wy(layer, W.dtype)
        return W - (W @ thin.B) @ thin.A

    def added_macs(self, d_in: int, d_out: int, cfg: HRAConfig) -> int:
        return 2 * cfg.rank(d_in, d_out) * d_in
