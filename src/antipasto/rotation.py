"""Block-diagonal rotations from unconstrained parameters, by the Cayley transform.

    A = skew(theta) with upper triangle theta / 2, then A <- a tanh(A / a), a = 2 tan(max_angle / 2)
    X = A / 2
    R = (I - X)^-1 (I + X)                                                   (Cayley 1846)

R is orthogonal for every theta, exactly I at theta = 0. Blocks of 2 and 4 are solved in closed form: by
Cayley-Hamilton a 4x4 skew X satisfies X^4 + n X^2 + p^2 I = 0, with n the sum of its squared entries above
the diagonal and p its Pfaffian, so (I - X)^-1 = ((1 + n)(I + X) + X^2 + X^3) / (1 + n + p^2).
The functions compute R - I = 2 X (I - X)^-1, which loses no digits where R is near I. Its gradient follows from R:
dR = 2 N dX N with N = (I - X)^-1 = (R + I) / 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .variant import at_least_float32


def rotation_minus_identity(
    theta: Float[Tensor, "blocks pairs"], block_size: int, max_angle: float
) -> Float[Tensor, "blocks bs bs"]:
    """R - I for each block, from its bs (bs - 1) / 2 parameters; `max_angle` in radians.

    Every entry of A saturates at 2 tan(max_angle / 2), so a 2x2 block turns by less than `max_angle`; in a
    larger block that bound holds for each pair of directions by itself.
    """
    apply: Callable[..., Tensor] = _Rotation.apply
    return apply(theta, block_size, 2 * math.tan(max_angle / 2))


class _Rotation(torch.autograd.Function):
    """R - I with a hand-written backward: one autograd node in place of about twenty tiny ones."""

    @staticmethod
    def forward(
        ctx: Any, theta: Float[Tensor, "blocks pairs"], block_size: int, limit: float
    ) -> Float[Tensor, "blocks bs bs"]:
        saturated = torch.tanh(theta / (2 * limit))
        Q = _cayley(limit / 2 * saturated, block_size)
        ctx.save_for_backward(saturated, Q)
        return Q

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "blocks bs bs"]) -> tuple[Tensor | None, ...]:
        saturated, Q = ctx.saved_tensors
        block_size = Q.shape[-1]
        N = (Q / 2 + torch.eye(block_size, dtype=Q.dtype, device=Q.device)).mT
        grad_X = 2 * (N @ grad @ N)
        rows, cols = torch.triu_indices(block_size, block_size, offset=1, device=Q.device)
        grad_upper = (grad_X - grad_X.mT)[:, rows, cols]
        return grad_upper * (1 - saturated.square()) / 4, None, None


def _cayley(upper: Float[Tensor, "blocks pairs"], block_size: int) -> Float[Tensor, "blocks bs bs"]:
    """R - I from the entries of X above its diagonal."""
    X = _skew(upper, block_size)
    n = upper.square().sum(-1)[:, None, None]
    if block_size == 2:
        return 2 * (X + X @ X) / (1 + n)
    eye = torch.eye(block_size, dtype=X.dtype, device=X.device)
    if block_size == 4:
        a, b, c, d, e, f = upper.unbind(-1)  # entries 01 02 03 12 13 23
        dual = torch.stack((f, -e, d, c, -b, a), -1)
        p = (upper * dual)[:, :3].sum(-1, keepdim=True)
        p2 = p.square()[:, :, None]
        # X (I-X)^-1 expanded, with X^3 = p X~ - n X:
        return 2 * (_skew(upper + p * dual, 4) + X @ X - p2 * eye) / (1 + n + p2)
    # solve_ex checks nothing, and so does not wait for a GPU: X is skew, so I - X is never singular.
    # LAPACK has no shorter dtype than float32.
    solved: Tensor = torch.linalg.solve_ex(at_least_float32(eye - X), at_least_float32(X)).result
    return 2 * solved.to(X.dtype)


def _skew(upper: Float[Tensor, "blocks pairs"], block_size: int) -> Float[Tensor, "blocks bs bs"]:
    """The skew matrices with these entries above the diagonal, row by row."""
    rows, cols = torch.triu_indices(block_size, block_size, offset=1, device=upper.device)
    X = upper.new_zeros(len(upper), block_size, block_size)
    X[:, rows, cols] = upper
    return X - X.mT
