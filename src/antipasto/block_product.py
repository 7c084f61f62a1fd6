"""y + x P^T diag(K_1, ..., K_n)^T U^T: small blocks between two frozen bases, as one step of autograd.

The blocks are multiplied into what the tokens read or into a basis, whichever is smaller; nothing of a basis's size is
kept. Tokens are the last dimension of a view wherever blocks are multiplied, so nothing is copied. Written out,
autograd would keep what it should not, and do two things slowly: hand the gradient on through U column by column,
since that is how the product of the blocks lies; and sum outer products of four over the tokens, where sixteen take
less time.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, bmm

GROUP = 16  # directions whose outer products are summed at once


class BlockProduct(torch.autograd.Function):
    """See above. P and U are frozen; x P^T is all that is kept of the size of the tokens."""

    @staticmethod
    def forward(
        ctx: Any,
        y: Float[Tensor, "*batch d_out"],
        x: Float[Tensor, "*batch d_in"],
        P: Float[Tensor, "r d_in"],
        K: Float[Tensor, "n bs bs"],
        U: Float[Tensor, "d_out r"],
    ) -> Float[Tensor, "*batch d_out"]:
        P, U = P.to(y.dtype), U.to(y.dtype)
        h = x.reshape(-1, x.shape[-1]) @ P.T  # (tokens, r)
        ctx.save_for_backward(h, P, K, U)
        return torch.addmm(y.reshape(-1, y.shape[-1]), *as_factors(h, K, U.T)).view(y.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "*batch d_out"]) -> tuple[Tensor | None, ...]:
        h, P, K, U = ctx.saved_tensors
        inside = grad.reshape(-1, grad.shape[-1]) @ U  # (tokens, r)
        for_x, for_K = None, None
        if ctx.needs_input_grad[1]:
            for_x = torch.mm(*as_factors(inside, K.mT, P)).view(*grad.shape[:-1], P.shape[1])
        if ctx.needs_input_grad[3]:
            for_K = outer_products(inside, h, K.shape[-1])
        return grad, for_x, None, for_K, None


def as_factors(
    h: Float[Tensor, "tokens r"], K: Float[Tensor, "n bs bs"], B: Float[Tensor, "r d"]
) -> tuple[Float[Tensor, "tokens r"], Float[Tensor, "r d"]]:
    """Two matrices with the product h diag(K_1, ..., K_n)^T B: the blocks go into the smaller of h and B."""
    if len(h) <= B.shape[1]:
        return times_blocks(h, K), B
    return h, times_blocks(B.T, K.mT).T


def times_blocks(h: Float[Tensor, "tokens r"], K: Float[Tensor, "n bs bs"]) -> Float[Tensor, "tokens r"]:
    """h diag(K_1, ..., K_n)^T"""
    return bmm(K, _rows(h, K.shape[-1])).flatten(0, 1).T


def outer_products(g: Float[Tensor, "tokens r"], h: Float[Tensor, "tokens r"], bs: int) -> Float[Tensor, "n bs bs"]:
    """The diagonal blocks of g^T h."""
    r = h.shape[1]
    wide = GROUP if GROUP % bs == 0 and r % GROUP == 0 else bs
    outer = bmm(_rows(g, wide), _rows(h, wide).mT)  # (r / wide, wide, wide)
    each = wide // bs
    diagonal = outer.view(-1, each, bs, each, bs).diagonal(dim1=1, dim2=3)  # (r / wide, bs, bs, each)
    return diagonal.permute(0, 3, 1, 2).reshape(-1, bs, bs)


def _rows(h: Float[Tensor, "tokens r"], size: int) -> Float[Tensor, "groups size tokens"]:
    return h.T.view(h.shape[1] // size, size, len(h))
