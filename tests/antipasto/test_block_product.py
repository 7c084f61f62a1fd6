"""Claims about small blocks between two frozen bases: the value and the gradients of the product written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from antipasto.block_product import add_block_product


@settings(max_examples=40)
@given(
    tokens=st.sampled_from([(1,), (2, 5), (3, 13), (64,)]),  # fewer than a basis has entries, and more
    block_size=st.sampled_from([2, 3, 4, 8, 16, 48]),
    seed=st.integers(0, 1000),
)
def test_it_is_the_product_written_out(tokens, block_size, seed):
    generator = Generator().manual_seed(seed)
    d_in, d_out, r = 20, 30, 48

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)

    x, y, K = draw(*tokens, d_in), draw(*tokens, d_out), draw(r // block_size, block_size, block_size)
    P, U = draw(r, d_in).detach(), draw(d_out, r).detach()
    output, written = add_block_product(y, x, P, K, U), y + x @ P.T @ torch.block_diag(*K).T @ U.T
    assert output.shape == written.shape
    torch.testing.assert_close(output, written, rtol=0, atol=1e-11)
    weights = draw(*output.shape).detach()
    ours, others = (torch.autograd.grad((out * weights).sum(), (x, y, K)) for out in (output, written))
    torch.testing.assert_close(ours, others, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tokens", [4, 400])
def test_what_is_kept_for_backward_is_one_read_of_the_basis(tokens):
    saved = []
    x, y, K = torch.randn(tokens, 20), torch.randn(tokens, 30, requires_grad=True), torch.randn(3, 4, 4)
    P, U = torch.randn(12, 20), torch.randn(30, 12)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        add_block_product(y, x, P, K.requires_grad_(), U)
    frozen = {t.data_ptr() for t in (P, U, K)}
    assert [tuple(t.shape) for t in saved if t.data_ptr() not in frozen] == [(tokens, 12)]
