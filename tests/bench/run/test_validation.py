"""Claims about the held-out loss while a run trains: it is that of the end, changes nothing, and survives a stop."""

import json
import time

import pytest
import torch
from small_runs import StopAfter, make, result_of, small, store_in
from torch import Generator
from transformers import AutoModelForCausalLM

import antipasto
from antipasto_bench.cli.output import print_record
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.signals import Interrupted
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.examples import bucketed_batches, drawn_examples
from antipasto_bench.run.train import TrainingControl, train
from antipasto_bench.run.validation import validation_loss
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.integrity import verify
from antipasto_bench.store.table import find


@pytest.mark.slow
def test_a_watched_run_is_the_unwatched_one_to_the_last_bit_also_where_it_was_stopped(tmp_path, capsys):
    plain, run = small("lora"), small("lora", valid_every=5)
    alone, watched, stopped = (store_in(tmp_path / name) for name in ("alone", "watched", "stopped"))
    make(plain, alone)
    make(run, watched)
    with pytest.raises(Interrupted):
        make(run, stopped, stop=StopAfter(8))
    make(run, stopped)
    record = find(watched.table, run.run_id)
    assert result_of(plain, alone) == result_of(run, watched) == result_of(run, stopped)
    assert record.valid_curve == find(stopped.table, run.run_id).valid_curve
    assert [step for step, _ in record.valid_curve] == [5, 10, 12]
    assert record.valid_curve[-1][1] == record.valid_loss, "the same loss of the same questions"
    assert record.valid_curve_s > 0
    assert find(alone.table, run.run_id).valid_curve is None
    for store in (watched, stopped):
        lines = [json.loads(line) for line in store.run_folder(run.run_id).log.read_text().splitlines()]
        assert {line["step"]: line["valid_loss"] for line in lines if "valid_loss" in line} == dict(record.valid_curve)
        assert verify(store) == []
    print_record(record, as_json=False)
    best_step, best = min(record.valid_curve, key=lambda point: point[1])
    assert f"best {best:.4f} at step {best_step}; last {record.valid_loss:.4f} at step 12, which is what is scored" in (
        " ".join(capsys.readouterr().out.split())
    )


def test_measuring_draws_no_random_number_and_leaves_each_module_in_its_mode(model, tokenizer):
    run = compose("lora", {"valid_every": 50, "valid_every_limit": 3}, "nano")
    model.train()
    model.model.layers[0].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    measure = validation_loss(run, model, tokenizer, load_splits(run.data, run.eval).valid)
    # As a model that draws in eval mode, too: nothing that it does may reach what is drawn in training.
    model.model.norm.register_forward_hook(lambda module, args, out: out + 0 * torch.rand(()))
    before = torch.get_rng_state()
    first = measure()
    assert torch.equal(torch.get_rng_state(), before)
    assert {name: module.training for name, module in model.named_modules()} == modes
    model.model.norm._forward_hooks.clear()
    assert measure() == pytest.approx(first)


def test_what_is_done_between_the_steps_is_not_on_the_clock(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    run = compose("lora", {"steps": 4, "batch_size": 1, "valid_every": 2}, "nano")
    examples = drawn_examples(run, tokenizer, load_splits(run.data, run.eval))
    antipasto.attach(model, run.adapter_config, generator=Generator().manual_seed(0))
    batches = bucketed_batches(examples, 1, tokenizer.pad_token_id, Generator().manual_seed(0))

    def measure() -> float | None:
        time.sleep(0.5)
        return None if len(logged) == 1 else 1.5

    logged = []

    def log(step):
        logged.append(step)
        time.sleep(0.25)

    began = time.perf_counter()
    result = train(model, run, batches, TrainingControl(on_step=log, valid_loss=measure))
    took = time.perf_counter() - began
    assert result.valid_curve_s >= 2 * 0.5
    assert result.seconds <= took - 2 * 0.5 - 4 * 0.25
    assert [step.valid_loss for step in logged] == [None, None, None, 1.5]
    assert result.valid_curve == [(4, 1.5)], "a loss that is not finite is left out"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"valid_every": 5, "eval.valid": "none"}, "there are no validation questions with a reference solution"),
        ({"valid_every": 2, "steps": 1000}, r"500 measurements, and a run records 200 at most; write valid_every=5 or"),
    ],
)
def test_a_curve_that_cannot_be_measured_is_refused(given, message, tokenizer):
    run = compose("lora", given, "nano")
    with pytest.raises(UserError, match=message):
        validation_loss(run, None, tokenizer, load_splits(run.data, run.eval).valid)
