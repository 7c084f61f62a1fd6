"""y + x P^T diag(K_1, ..., K_n)^T U^T: small blocks between two frozen bases, as one step of autograd.

The blocks are multiplied into h = x P^T or into a basis, whichever is smaller; no tensor of a basis's size is saved for
backward. Wherever blocks are multiplied, the tokens are the last dimension of a view, so that nothing is copied.

The same product written with autograd's own operations would save more, and be slow in two places. The gradient would
pass through U column by column, because of the memory layout of the product of the blocks. And the gradient of the
blocks would be summed over the tokens in outer products of 4 x 4, which take more time than those of 16 x 16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, bmm

GROUP = 16  # width of the outer products that are summed over the tokens


def add_block_product(
    y: Float[Tensor, "*batch d_out"],
    x: Float[Tensor, "*batch d_in"],
    P: Float[Tensor, "r d_in"],
    K: Float[Tensor, "n bs bs"],
    U: Float[Tensor, "d_out r"],
) -> Float[Tensor, "*batch d_out"]:
    """y + x P^T diag(K_1, ..., K_n)^T U^T, in y's dtype. P and U are frozen: they get no gradient."""
    apply: Callable[..., Tensor] = BlockProduct.apply
    return apply(y, x, P, K, U)


class BlockProduct(torch.autograd.Function):
    """`add_block_product` as one step of autograd. For backward it saves x P^T and nothing else per token."""

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
        grad_h = grad.reshape(-1, grad.shape[-1]) @ U  # (tokens, r)
        grad_x, grad_K = None, None
        if ctx.needs_input_grad[1]:
            grad_x = torch.mm(*as_factors(grad_h, K.mT, P)).view(*grad.shape[:-1], P.shape[1])
        if ctx.needs_input_grad[3]:
            grad_K = outer_products(grad_h, h, K.shape[-1])
        return grad, grad_x, None, grad_K, None


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
    group = GROUP if GROUP % bs == 0 and r % GROUP == 0 else bs
    outer = bmm(_rows(g, group), _rows(h, group).mT)  # (r / group, group, group)
    blocks = group // bs
    diagonal = outer.view(-1, blocks, bs, blocks, bs).diagonal(dim1=1, dim2=3)  # (r / group, bs, bs, blocks)
    return diagonal.permute(0, 3, 1, 2).reshape(-1, bs, bs)


def _rows(h: Float[Tensor, "tokens r"], size: int) -> Float[Tensor, "groups size tokens"]:
    return h.T.view(h.shape[1] // size, size, len(h))
