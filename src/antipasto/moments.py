"""Calibrators: running sums over calibration tokens; no activation is stored."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .configs.frozen_basis import ActPool
from .decompositions import SVDFactors
from .variant import at_least_float32

TOKENS_AT_ONCE = 4096  # of which a copy in float64 is in memory at one time


class Mean:
    """E[x] of each channel."""

    def __init__(self, d_in: int, like: Tensor) -> None:
        self.sum = torch.zeros(d_in, dtype=torch.float64, device=like.device)
        self.tokens = 0

    def update(self, x: Float[Tensor, "tokens d_in"]) -> None:
        self.sum += self.moment(at_least_float32(x)).sum(0, dtype=torch.float64)
        self.tokens += len(x)

    def moment(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens k"]:
        return x

    def mean(self) -> Float[Tensor, " k"]:
        return self.sum / self.tokens


class ChannelPower(Mean):
    """E[x^2] of each channel."""

    def moment(self, x: Tensor) -> Tensor:
        return x.square()


class DirectionPower(Mean):
    """E[(x . v_i)^2], or E[|x . v_i|], of each right singular vector v_i."""

    def __init__(self, svd_factors: SVDFactors, pool: ActPool) -> None:
        super().__init__(len(svd_factors.Vh), like=svd_factors.Vh)
        self.svd_factors = svd_factors
        self.pool = pool

    def moment(self, x: Tensor) -> Tensor:
        h = x.to(self.svd_factors.Vh.dtype) @ self.svd_factors.Vh.T  # (tokens, k)
        return h.square() if self.pool == "rms" else h.abs()

    def pooled(self) -> Float[Tensor, " k"]:
        return self.mean().sqrt() if self.pool == "rms" else self.mean()


class Covariance:
    """E[x x^T], not centred, multiplied and summed in float64.

    Inputs often share one direction that is far larger than all others. In float32 its rounding, relative to the
    square of the largest entry, would hide the directions that a decomposition is to find among the others.
    """

    def __init__(self, W: Float[Tensor, "d_out d_in"]) -> None:
        self.sum = torch.zeros(W.shape[1], W.shape[1], dtype=torch.float64, device=W.device)
        self.tokens = 0

    def update(self, x: Float[Tensor, "tokens d_in"]) -> None:
        for some in x.split(TOKENS_AT_ONCE):
            outputs = self.outputs(some.double())
            self.sum.addmm_(outputs.T, outputs)
        self.tokens += len(x)

    def outputs(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens k"]:
        return x

    def mean(self) -> Float[Tensor, "k k"]:
        return self.sum / self.tokens


class OutputCovariance(Covariance):
    """E[(W x)(W x)^T] = W C W^T, a (d_out, d_out) matrix, where C = E[x x^T] is (d_in, d_in)."""

    def __init__(self, W: Float[Tensor, "d_out d_in"]) -> None:
        super().__init__(W.T)
        self.W = W

    def outputs(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_out"]:
        return x @ self.W.double().T
