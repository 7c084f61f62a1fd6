"""Claims about one optimizer step: what it does where memory does not hold it."""

import warnings

import pytest
import torch
from torch import Generator

import antipasto
from antipasto_bench.run.completion_loss import CompletionLoss
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.examples import bucketed_batches, draw_examples
from antipasto_bench.run.step import AdapterOptimizer
from antipasto_bench.spec.compose import compose

pytestmark = pytest.mark.slow


@pytest.fixture
def optimizer_and_batches(model, tokenizer):
    """For a run on the embedded model; the adapter's B is not zero, so that every tensor has a gradient."""

    def prepare(**given):
        run = compose("lora", {"steps": 2, "batch_size": 5, "grad_accum": 2, "max_grad_norm": 1e9} | given, "nano")
        antipasto.attach(model, run.adapter_config, generator=Generator().manual_seed(0))
        generator = Generator().manual_seed(1)
        optimizer = AdapterOptimizer(model, run)
        with torch.no_grad():
            for parameter in optimizer.parameters:
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
        rows = load_splits(run.data, run.eval).train
        examples = draw_examples(tokenizer, rows, 20, run.data.max_length, Generator().manual_seed(0))
        width = run.data.max_length if run.pack else None
        order = Generator().manual_seed(0)
        return optimizer, list(bucketed_batches(examples, 5, tokenizer.pad_token_id, order, width=width))

    yield prepare
    antipasto.detach(model)


def lack_memory(monkeypatch, rows: int, where: str) -> list[int]:
    """Let more rows than these lack memory in the forward or the backward pass; gives the rows of each pass."""
    passes: list[int] = []
    compute = CompletionLoss.__call__

    def limited(self, batch):
        passes.append(len(batch["labels"]))
        error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if passes[-1] > rows and where == "forward":
            raise error
        loss = compute(self, batch)
        if passes[-1] > rows:

            def fail(gradient):
                raise error

            loss.register_hook(fail)
        return loss

    monkeypatch.setattr(CompletionLoss, "__call__", limited)
    return passes


def gradients_of_a_step(optimizer, micro_batches):
    """Loss, norm and gradients of a step that moves nothing."""
    grads = []
    optimizer.optimizer.step = lambda: grads.extend(p.grad.clone() for p in optimizer.parameters)
    return *optimizer.step(micro_batches, lr=0.0).read(), grads


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("given", [{}, {"pack": True, "data.max_length": 160}])
def test_a_step_that_memory_does_not_hold_is_the_same_step_in_halves(optimizer_and_batches, monkeypatch, where, given):
    optimizer, batches = optimizer_and_batches(**given)
    # The second micro-batch alone has too many rows, when the first has already left its gradient.
    batches[0] = {name: values[:1] for name, values in batches[0].items()}
    whole = gradients_of_a_step(optimizer, batches[:2])
    passes = lack_memory(monkeypatch, 1 if given else 2, where)
    with pytest.warns(UserWarning, match=r"out of memory in training \d rows at once; going on with"):
        halved = gradients_of_a_step(optimizer, batches[:2])
    assert optimizer.rows_at_once == (1 if given else 2)
    assert halved[0] == pytest.approx(whole[0], rel=1e-6)
    assert halved[1] == pytest.approx(whole[1], rel=1e-5)
    for one, other in zip(halved[2], whole[2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    del passes[:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients_of_a_step(optimizer, batches[:2])
    assert max(passes) == optimizer.rows_at_once, "later steps begin with the smaller size"


def test_a_single_row_that_memory_does_not_hold_fails_the_step(optimizer_and_batches, monkeypatch):
    optimizer, batches = optimizer_and_batches()
    passes = lack_memory(monkeypatch, 0, "forward")
    with pytest.warns(UserWarning, match="out of memory"), pytest.raises(torch.OutOfMemoryError):
        optimizer.step(batches[:2], lr=1e-3)
    assert passes == [5, 2, 1]


def test_another_error_is_not_taken_for_lack_of_memory(optimizer_and_batches, monkeypatch):
    optimizer, batches = optimizer_and_batches()

    def fail(self, batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(CompletionLoss, "__call__", fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        optimizer.step(batches[:2], lr=1e-3)
    assert optimizer.rows_at_once is None
