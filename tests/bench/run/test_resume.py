"""Claims about runs that are stopped on the way: they go on from where they were, to the same last bit."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import polars as pl
import pytest
import torch
from command import fork
from small_runs import StopAfter, make, one_layer, result_of, store_in
from small_runs import small as of_the_whole_model

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.signals import Interrupted, StopRequest
from antipasto_bench.run.answer_log import AnswerLog, read_log
from antipasto_bench.run.attach import attach
from antipasto_bench.run.checkpoints import Checkpoints
from antipasto_bench.run.context import RunContext
from antipasto_bench.run.examples import drawn_examples
from antipasto_bench.run.execute import execute
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.run.progress import Progress
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.store.checked_json import with_digest, without_digest
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import find

pytestmark = pytest.mark.slow


def small(variant: str, **given: object) -> RunConfig:
    """Of one layer: what is gone on with does not depend on the depth."""
    return of_the_whole_model(variant, model=one_layer(), **given)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Store:
    """A run of lora that nothing stopped."""
    store = store_in(tmp_path_factory.mktemp("whole"))
    make(small("lora"), store)
    return store


@pytest.mark.long
@pytest.mark.parametrize(
    ("variant", "given"),
    [
        ("lora", {}),
        ("pissa", {"grad_accum": 2}),
        ("antipasto", {"basis": "wanda", "rank": 16}),
        ("eva", {}),
        ("hra", {}),
        ("lora", {"adapter_dtype": "bfloat16", "lr_ratio": 4.0, "loss_mean": "micro-batches", "grad_accum": 2}),
        ("antipasto", {"adapter_dtype": "bfloat16", "rank": 16}),
        ("full", {"dtype": "bfloat16", "targets": "all"}),
        ("peft:lora", {"use_dora": True, "lora_dropout": 0.1}),
        ("peft:lora", {"optimizer": "lora-fa"}),
        ("peft:adalora", {"tinit": 2, "tfinal": 3}),
        ("peft:prompt_tuning", {}),
    ],
)
def test_a_run_stopped_in_training_ends_with_the_bits_of_one_that_was_not(variant, given, tmp_path):
    run = small(variant, **given)
    whole, broken = store_in(tmp_path / "whole"), store_in(tmp_path / "broken")
    make(run, whole)
    for steps in (2, 3):  # the second time in a run that was gone on with
        with pytest.raises(Interrupted, match="at step"):
            make(run, broken, stop=StopAfter(steps))
        assert not broken.table.exists()
    assert make(run, broken).status == "ok"
    assert result_of(run, broken) == result_of(run, whole)
    assert not list((broken.outputs / ".workspaces").iterdir())


@pytest.mark.long
def test_a_damaged_checkpoint_costs_some_steps_and_no_bit(whole, tmp_path):
    run = small("lora")
    broken = store_in(tmp_path)
    with pytest.raises(Interrupted):
        make(run, broken, stop=StopAfter(7))
    checkpoints = sorted((broken.outputs / ".workspaces" / run.run_id / "checkpoints").iterdir())
    assert len(checkpoints) == 2
    damaged = checkpoints[-1] / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-7] + b"garbage")
    with pytest.warns(UserWarning, match=r"step-\d+ is damaged and left out: optimizer.safetensors is not what"):
        make(run, broken)
    assert result_of(run, broken) == result_of(run, whole)


@pytest.mark.parametrize("older", [{"torch": "0.1"}, {"code": "0"}])
def test_what_other_code_began_is_not_gone_on_with(tmp_path, older):
    """Older code wrote no digest."""
    run, store = small("lora"), store_in(tmp_path)
    with pytest.raises(Interrupted):
        make(run, store, stop=StopAfter(8))
    made_by = store.outputs / ".workspaces" / run.run_id / "made_by.json"
    versions = without_digest(json.loads(made_by.read_text()))
    made_by.write_text(json.dumps(versions | older if "code" in older else with_digest(versions | older)))
    seen = []

    class Phases(Progress):
        def phase(self, name: str) -> None:
            seen.append(name)

    with pytest.warns(UserWarning, match=f"another version of {next(iter(older))}; the run begins anew"):
        execute(run, RunContext(store, Phases(quiet=True)))
    assert "attach" in seen
    assert not any(name.startswith("go on") for name in seen)


@pytest.mark.long
def test_whatever_ends_a_try_what_was_trained_is_kept(whole, tmp_path):
    """A hub that is down, a GPU that another process fills, an error of lm-eval's: none of them costs the training."""
    run = small("lora")
    broken = store_in(tmp_path)
    with pytest.raises(Interrupted):
        make(run, broken, stop=StopAfter(8))

    class Failing(ModelCache):
        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error = error

        def model(self, run):
            raise self.error

    for error in (UserError("the hub is down"), AssertionError("max_gen_toks")):
        with pytest.raises(type(error)):
            make(run, broken, models=Failing(error))
    failed = make(run, broken, models=Failing(RuntimeError("CUDA out of memory")))
    assert failed.status == "failed"
    assert (broken.outputs / ".workspaces" / run.run_id / "checkpoints").exists()
    assert make(run, broken).record.status == "failed", "it is retried only where asked"
    assert make(run, broken, retry_before="2000").status == "done", "it failed after that"
    assert make(run, broken, retry_before="9999").status == "ok"
    assert result_of(run, broken) == result_of(run, whole)
    assert make(run, broken, retry_before="9999").status == "done", "what is ok is not retried"


def test_scoring_that_is_stopped_goes_on_with_what_is_answered(tmp_path, monkeypatch):
    run = of_the_whole_model("base", **{"eval.limit": 30, "eval.valid_limit": 10})
    whole, broken = store_in(tmp_path / "whole"), store_in(tmp_path / "broken")
    make(run, whole)
    answered = []
    add = AnswerLog.add_partial

    def interrupting(self, *given):
        add(self, *given)
        answered.append(given)
        if len(answered) == 20:
            raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(AnswerLog, "add_partial", interrupting)
    with pytest.raises(Interrupted):
        make(run, broken)
    kept = next((broken.outputs / ".workspaces").rglob("answers-test.jsonl"))
    _, *answers, under_way = read_log(kept)
    assert sum(map(len, answers)) == 20
    assert 0 < len(under_way["open"]) <= 8
    assert make(run, broken).status == "ok"
    assert len(answered) == 20 + (30 - 20) + 10, "no answer is lost"
    items = [pl.read_parquet(store.items(run.run_id)) for store in (broken, whole)]
    assert items[0].equals(items[1])


def test_a_parameter_that_never_had_a_gradient_is_restored_without_moments(tmp_path):
    run, models = small("lora"), ModelCache()
    model, tokenizer = models.model(run)
    attach(run, model, tokenizer, drawn_examples(run, tokenizer, models.splits(run), 4))
    parameters = list(antipasto.trainable_parameters(model).values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    parameters[0].sum().backward()
    optimizer.step()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, model, optimizer, {"step": 1})
    other = torch.optim.AdamW(parameters, lr=1e-3)
    found = checkpoints.latest()
    assert found is not None
    found.restore(other)
    assert set(other.state) == {parameters[0]}
    assert torch.equal(other.state[parameters[0]]["exp_avg"], optimizer.state[parameters[0]]["exp_avg"])


def test_force_begins_anew(tmp_path):
    run, store = small("lora"), store_in(tmp_path)
    with pytest.raises(Interrupted):
        make(run, store, stop=StopAfter(8))
    assert make(run, store, force=True).status == "ok"
    steps = (store.run_folder(run.run_id).log).read_text().count("\n")
    assert steps == 12


def work(run: dict, folder: Path) -> None:
    make(RunConfig.model_validate(run), store_in(folder))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_run_killed_at_eight_random_moments_ends_with_the_bits_of_one_that_was_not(tmp_path):
    """Real processes, killed by SIGKILL wherever they are: attaching, training, writing, scoring, recording.

    ANTIPASTO_KILLS=20 kills more often, ANTIPASTO_SEED=1 at other moments.
    """
    run = of_the_whole_model("lora", steps=20, **{"eval.limit": 40})
    end_after_kills(run, tmp_path, int(os.environ.get("ANTIPASTO_KILLS", "8")), {"log.jsonl", "step", *SCORING})


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("variant", "given"), [("peft:lora", {}), ("peft:vera", {}), ("peft:adalora", {"tinit": 4, "tfinal": 6})]
)
def test_a_run_of_peft_killed_at_random_moments_ends_with_the_bits_of_one_that_was_not(variant, given, tmp_path):
    """AdaLoRA changes its ranks after each step; VeRA's frozen matrices are drawn and shared by all layers."""
    run = small(variant, steps=20, **given)
    end_after_kills(run, tmp_path, int(os.environ.get("ANTIPASTO_KILLS", "2")), {"log.jsonl", "step"})


SCORING = {"trained.json", "answers"}


def end_after_kills(run: RunConfig, tmp_path: Path, wanted: int, phases: set[str]) -> None:
    """Kill a run so often, in every phase, and hold its end against that of one that nothing killed."""
    seed = int(os.environ.get("ANTIPASTO_SEED", "0"))
    print(f"{wanted} kills, seed {seed}")

    def started(folder: Path) -> multiprocessing.Process:
        return fork(work, run.model_dump(), folder)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = started(whole)
    process.join()
    assert process.exitcode == 0
    took = find(store_in(whole).table, run.run_id).total_s  # of its own; before it, a first process imports
    rng = random.Random(seed)
    killed, reached = 0, set[str]()
    for _ in range(60):
        process = started(broken)
        process.join(timeout=rng.uniform(0.05, 0.6) * took)
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
        workspace = store_in(broken).outputs / ".workspaces" / run.run_id
        now = {path.name.split("-")[0] for path in workspace.rglob("*") if path.suffix != ".partial"}
        if now <= reached and not phases <= reached:
            took *= 1.15  # the machine is slower than it was at first
        reached |= now
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            if killed >= wanted and phases <= reached:
                break
            shutil.rmtree(broken)  # it got through too soon: again
            took *= 0.5
    else:
        process = started(broken)
        process.join()
    assert killed >= wanted
    assert phases <= reached, "it was killed in every phase"
    assert result_of(run, store_in(broken)) == result_of(run, store_in(whole))
    assert store_in(broken).table.read_bytes().count(b"\n") == 1


def test_a_run_that_died_between_its_record_and_the_table_is_recorded_without_being_made_again(tmp_path):
    run, store = small("lora"), store_in(tmp_path)
    make(run, store)
    before = result_of(run, store)
    items = store.items(run.run_id).read_bytes()
    store.table.unlink()
    store.items(run.run_id).unlink()
    began = time.perf_counter()
    assert make(run, store).status == "ok"
    assert time.perf_counter() - began < 2
    assert result_of(run, store) == before
    assert store.items(run.run_id).read_bytes() == items


@pytest.mark.long
def test_a_signal_between_the_last_step_and_the_saved_adapter_loses_no_step(tmp_path, monkeypatch):
    run, stop, save = small("lora", checkpoint=100), StopRequest(), antipasto.save
    whole, broken = store_in(tmp_path / "whole"), store_in(tmp_path / "broken")
    make(run, whole)

    def interrupted(model, path, **options):
        stop.handle(signal.SIGTERM, None)
        return save(model, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(antipasto, "save", interrupted)
        with pytest.raises(Interrupted, match="after training"):
            make(run, broken, stop=stop)
    assert broken.workspace(run.run_id).training.exists()
    assert make(run, broken).status == "ok"
    assert result_of(run, broken) == result_of(run, whole)


@pytest.mark.long
@pytest.mark.parametrize(
    "where", ["antipasto_bench.run.model_cache.ModelCache.give_back", "antipasto_bench.run.measured_costs.measure"]
)
def test_a_run_that_fails_after_scoring_has_no_scores_and_chooses_no_rate(where, tmp_path, monkeypatch):
    run, store = small("lora", costs=where.endswith("measure")), store_in(tmp_path)  # they cost a process

    def fail(*arguments):
        raise RuntimeError("CUDA error: unspecified launch failure")

    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        outcome = make(run, store)
    assert outcome.status == "failed"
    record = find(store.table, run.run_id)
    assert record.error.startswith("RuntimeError: CUDA error")
    assert record.test_accuracy is record.valid_accuracy is record.metrics is record.items_sha256 is None
    assert not store.items(run.run_id).exists()
    assert make(run, store, retry_before="9999").status == "ok"
