"""Block-diagonal rotations from unconstrained parameters, by the Cayley transform.

    A = skew(theta) with upper triangle theta / 2, then A <- a tanh(A / a), a = 2 tan(max_angle / 2)
    X = A / 2
    R = (I - X)^-1 (I + X)                                                   (Cayley 1846)

R is orthogonal for every theta, exactly I at theta = 0. Blocks of 2 and 4 are solved in closed form: by
Cayley-Hamilton a 4x4 skew X satisfies X^4 + n X^2 + p^2 I = 0, with n the sum of its squared entries above
the diagonal and p its Pfaffian, so (I - X)^-1 = ((1 + n)(I + X) + X^2 + X^3) / (1 + n + p^2).
What is built is R - I = 2 X (I - X)^-1, which loses no digits where R is near I.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


def rotation_minus_identity(
    theta: Float[Tensor, "blocks pairs"], block_size: int, max_angle: float
) -> Float[Tensor, "blocks bs bs"]:
    """R - I for each block, from its bs (bs - 1) / 2 parameters; `max_angle` in radians.

    Every entry of A saturates at 2 tan(max_angle / 2), so a 2x2 block turns by less than `max_angle`; in a
    larger block that bound holds for each pair of directions by itself.
    """
    limit = 2 * math.tan(max_angle / 2)
    upper = limit / 2 * torch.tanh(theta / (2 * limit))  # (blocks, pairs): X above the diagonal
    X = (upper @ _skew_basis(block_size, theta.dtype, theta.device)).unflatten(-1, (block_size, block_size))
    if block_size == 2:
        n = upper.square()[:, :, None]
        return 2 * (X + X @ X) / (1 + n)
    if block_size == 4:
        n = upper.square().sum(-1)[:, None, None]
        a, b, c, d, e, f = upper.unbind(-1)  # entries 01 02 03 12 13 23
        p2 = (a * f - b * e + c * d).square()[:, None, None]
        X2 = X @ X
        # X (I-X)^-1 expanded, with X^4 = -n X^2 - p^2 I:
        eye = torch.eye(4, dtype=X.dtype, device=X.device)
        return 2 * ((1 + n) * X + X2 + X2 @ X - p2 * eye) / (1 + n + p2)
    eye = torch.eye(block_size, dtype=X.dtype, device=X.device)
    return 2 * torch.linalg.solve(eye - X, X)


@lru_cache
def _skew_basis(block_size: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "pairs bs*bs"]:
    """Row k is the flattened skew matrix with 1 at the k-th place above the diagonal and -1 at its mirror."""
    rows, cols = torch.triu_indices(block_size, block_size, offset=1)
    basis = torch.zeros(len(rows), block_size, block_size)
    pair = torch.arange(len(rows))
    basis[pair, rows, cols], basis[pair, cols, rows] = 1, -1
    return basis.flatten(1).to(device, dtype)
