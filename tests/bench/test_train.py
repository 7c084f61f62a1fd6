"""Claims about training: only the adapter moves, the loss is the completion's, and nothing depends on chance."""

import math

import pytest
import torch
from torch import Generator
from transformers import AutoModelForCausalLM, AutoTokenizer

import antipasto
from antipasto_bench.config import compose
from antipasto_bench.data import IGNORED, collate, draw_examples, load_splits
from antipasto_bench.errors import RunFailure
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.optimisation import completion_loss
from antipasto_bench.train import Step, learning_rate, train


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_DIR)


@pytest.fixture
def model():
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)


def prepare(model, tokenizer, variant="lora", **given):
    run = compose(variant, {"steps": 6, "batch_size": 4} | given, "nano")
    antipasto.attach(model, run.adapter_config, generator=Generator().manual_seed(0))
    rows = load_splits(run.data, run.eval).train
    count = run.steps * run.batch_size * run.grad_accum
    return run, draw_examples(tokenizer, rows, count, run.data.max_length, Generator().manual_seed(0))


def trained(model, tokenizer, variant="lora", **given):
    run, examples = prepare(model, tokenizer, variant, **given)
    steps: list[Step] = []
    result = train(model, run, examples, tokenizer.pad_token_id, Generator().manual_seed(0), steps.append)
    return result, steps


def test_loss_is_the_models_own_over_the_completion(model, tokenizer):
    _, examples = prepare(model, tokenizer)
    batch = collate(examples[:5], tokenizer.pad_token_id)
    scored = int((batch["labels"][:, 1:] != IGNORED).sum())
    reference = model(**batch).loss
    assert completion_loss(model, batch).item() / scored == pytest.approx(reference.item(), rel=1e-5)


def test_padding_changes_no_loss(model, tokenizer):
    _, examples = prepare(model, tokenizer)
    together = completion_loss(model, collate(examples[:4], tokenizer.pad_token_id)).item()
    alone = sum(completion_loss(model, collate([e], tokenizer.pad_token_id)).item() for e in examples[:4])
    assert together == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize(
    ("variant", "given"),
    [("lora", {"lr": 3e-3}), ("antipasto", {"lr": 5e-2}), ("antipasto", {"lr": 5e-2, "rotate_basis": "none"})],
)
def test_training_lowers_the_loss_and_touches_only_the_adapter(model, tokenizer, variant, given):
    before = [p.detach().clone() for p in model.parameters()]
    result, steps = trained(model, tokenizer, variant, steps=40, batch_size=8, **given)
    first, last = (sum(s.loss for s in part) / 10 for part in (steps[:10], steps[-10:]))
    assert last < 0.8 * first
    assert result.first_loss == steps[0].loss
    assert result.last_loss == pytest.approx(sum(s.loss for s in steps[-4:]) / 4)
    assert [s.step for s in steps] == list(range(1, 41))
    assert result.tokens == sum(s.tokens for s in steps) > 40 * 8 * 40
    antipasto.detach(model)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_the_same_run_twice_gives_identical_numbers(tokenizer):
    results = []
    for _ in range(2):
        model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
        _, steps = trained(model, tokenizer, "antipasto")
        results.append([(s.loss, s.grad_norm) for s in steps])
    assert results[0] == results[1]


def test_accumulated_micro_batches_are_the_large_batch(tokenizer):
    """Every completion token weighs the same, so 2 x 4 examples take the very step of 8."""
    norms = []
    for given in ({"batch_size": 8}, {"batch_size": 4, "grad_accum": 2}):
        model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
        _, steps = trained(model, tokenizer, steps=1, **given)
        norms.append((steps[0].loss, steps[0].grad_norm))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_learning_rate_rises_then_falls_to_nothing():
    run = compose("lora", {"steps": 100, "lr": 2.0, "warmup": 0.1}, "nano")
    rates = [learning_rate(step, run) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(2.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(1.0)
    assert rates[99] < 1e-3


def test_divergence_stops_the_run_with_its_reason(model, tokenizer):
    with pytest.raises(RunFailure, match=r"(loss|gradient norm) is (nan|inf) at step \d of 6 \(lr 1e\+30\)"):
        trained(model, tokenizer, lr=1e30)


def test_a_base_that_changes_or_takes_a_gradient_is_caught(model, tokenizer):
    run, examples = prepare(model, tokenizer)
    pad = tokenizer.pad_token_id
    weight = model.model.layers[0].mlp.down_proj.weight

    def tamper(step: Step) -> None:
        weight.data[3, 5] += 1e-3

    with pytest.raises(RunFailure, match="weights changed"):
        train(model, run, examples, pad, Generator().manual_seed(0), tamper)
    weight.requires_grad_(True)
    with pytest.raises(RunFailure, match="received a gradient"):
        train(model, run, examples, pad, Generator().manual_seed(0))


def test_a_bfloat16_base_trains_float32_adapters(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.bfloat16)
    result, _ = trained(model, tokenizer, "antipasto", steps=20, batch_size=4, dtype="bfloat16", lr=2e-2)
    assert result.last_loss < 0.95 * result.first_loss
    assert all(p.dtype == torch.float32 for p in antipasto.trainable_parameters(model).values())
    assert math.isfinite(result.mean_grad_norm)
