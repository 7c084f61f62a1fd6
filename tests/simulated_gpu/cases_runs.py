"""Claims about runs on a GPU: they give the CPU's results, whatever stops them, comes before them or lacks memory."""

import gc
import json
from contextlib import nullcontext
from typing import Any

import lm_eval.evaluator  # noqa: F401  # before there is a GPU, as all that looks up torch's functions
import pytest
import torch
from safetensors.torch import load_file
from small_runs import SAME, StopAfter, make, result_of, small, store_in
from torch.nn.attention import SDPBackend, sdpa_kernel

import antipasto_bench.run.evaluate
import antipasto_bench.run.generate  # noqa: F401
from antipasto_bench.core.device import device_is_dead, pick_device
from antipasto_bench.core.signals import Interrupted
from antipasto_bench.run.attach import attach
from antipasto_bench.run.costs import measure_here
from antipasto_bench.run.examples import drawn_examples
from antipasto_bench.run.export import export_merged, export_peft
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.run.models import load_model
from antipasto_bench.run.step import CompletionLoss, StepMetrics
from antipasto_bench.spec.sweep import Sweep
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import find, read_records
from antipasto_bench.sweeps.scheduler import Order, make_all
from simulated_gpu import gpu

QUICK: dict[str, object] = {"steps": 3, "checkpoint": 2, "eval.limit": 4, "eval.valid_limit": 2}
MIB = 2**20


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    load_model(small("base"))


def record_of(name: str, folder: Any, **given: object) -> RunRecord:
    run, store = small(name, **QUICK | given), store_in(folder)
    make(run, store)
    record = find(store.table, run.run_id)
    assert record is not None
    assert record.status == "ok", record.error
    return record


@pytest.mark.parametrize("name", ["lora", "antipasto", "pissa", "sspace"])
def test_a_run_gives_the_scores_of_the_cpu(name, tmp_path):
    given = {"eval.general": "benchmark/data/nano/general.jsonl", "eval.general_limit": 4}
    with sdpa_kernel(SDPBackend.MATH):  # attention as the simulation computes it
        expected = record_of(name, tmp_path / "cpu", **given)
    with gpu() as device:
        record = record_of(name, tmp_path / "cuda", **given)
        assert device.launches.total() > 1000
    assert record.provenance.device == "cuda"
    assert record.provenance.hardware == "NVIDIA H200 (simulated)"
    assert record.items_sha256 == expected.items_sha256
    assert record.test_accuracy == expected.test_accuracy
    for field in ("first_loss", "last_loss", "mean_grad_norm", "general_loss_base", "general_loss"):
        if getattr(expected, field) is not None:
            assert getattr(record, field) == pytest.approx(getattr(expected, field), rel=1e-4), field
    assert record.general_loss > 0


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_gpu_can_be_named_with_and_without_its_number(name, tmp_path):
    with gpu():
        assert pick_device(name).type == "cuda"
        assert record_of("lora", tmp_path, device=name).provenance.device == "cuda"


@pytest.mark.parametrize("name", ["lora", "antipasto", "pissa", "eva"])
def test_a_run_that_is_stopped_in_training_ends_with_the_bits_of_one_that_was_not(name, tmp_path):
    run, whole, stopped = (
        small(name, **QUICK | {"steps": 6}),
        store_in(tmp_path / "whole"),
        store_in(tmp_path / "stopped"),
    )
    with gpu():
        make(run, whole)
        with pytest.raises(Interrupted, match="at step"):
            make(run, stopped, stop=StopAfter(3))
        assert make(run, stopped).status == "ok"
    assert result_of(run, stopped) == result_of(run, whole)


def test_runs_of_a_sweep_share_one_base_and_give_the_bits_of_runs_alone(tmp_path):
    runs = [small(name, **QUICK) for name in ("lora", "pissa", "antipasto")]
    alone, shared, models = store_in(tmp_path / "alone"), store_in(tmp_path / "shared"), ModelCache()
    with gpu() as device:
        for run in runs:
            make(run, alone)
        gc.collect()
        before, allocated, bases = device.allocated, [], []
        for run in runs:
            make(run, shared, models=models)
            gc.collect()
            allocated.append(device.allocated)
            bases.append(models._loaded.model)
        assert before == 0
        assert allocated[0] > 0
        assert len(set(allocated)) == 1, "an adapter leaves nothing on the device"
        assert bases[0] is bases[1] is bases[2]
    for run in runs:
        assert result_of(run, shared) == result_of(run, alone)


@pytest.mark.parametrize("backend", ["hf", "static"])  # continuous captures CUDA graphs, vllm brings kernels
def test_a_backend_gives_the_answers_of_the_cpu(backend, tmp_path):
    with sdpa_kernel(SDPBackend.MATH):
        expected = record_of("lora", tmp_path / "cpu")
    with gpu(), torch._dynamo.config.patch(disable=True):  # compiled code is not simulated
        record = record_of("lora", tmp_path / "cuda", **{"eval.backend": backend})
    assert {name: getattr(record, name) for name in SAME[-3:]} == {name: getattr(expected, name) for name in SAME[-3:]}


def test_questions_that_do_not_fit_are_answered_in_smaller_batches(tmp_path):
    given = {"eval.limit": 60, "eval.batch_size": 100, "eval.valid": "none"}
    with gpu(limit=24 * MIB) as device:
        record = record_of("lora", tmp_path, **given)
        assert device.peak <= 24 * MIB
    assert 1 <= record.provenance.eval_batch_size < 60
    with gpu():
        assert record_of("lora", tmp_path / "large", **given).items_sha256 == record.items_sha256


def test_a_step_that_does_not_fit_fails_the_run_and_not_the_next_one(tmp_path):
    run, store, models = small("lora", **QUICK), store_in(tmp_path), ModelCache()
    with gpu() as device:
        make(small("base", **QUICK), store, models=models)
        gc.collect()
        device.limit = device.allocated + MIB // 4  # the base and the adapter, and not a forward pass
        outcome = make(run, store, models=models)
        assert outcome.status == "failed"
        assert outcome.record.error.startswith("out of memory: CUDA out of memory")
        device.limit = None
        assert make(run, store, models=models, retry_before="9999").status == "ok"


def test_a_run_whose_micro_batches_do_not_fit_is_trained_in_halves_of_them(tmp_path, monkeypatch):
    given = {"batch_size": 8, "eval.limit": 2, "eval.valid": "none"}
    with gpu():
        expected, run = record_of("lora", tmp_path / "large", **given), small("lora", **QUICK | given)
    compute = CompletionLoss.__call__
    with gpu() as device:
        peaks = []

        def measured(self, batch):
            device.peak = before = device.allocated
            loss = compute(self, batch)
            peaks.append(device.peak - before)
            return loss

        with monkeypatch.context() as patch:
            patch.setattr(CompletionLoss, "__call__", measured)
            record_of("lora", tmp_path / "measured", **given)

        def limited(self, batch):  # in the forward pass alone: the simulation cannot fail in a backward pass
            gc.collect()
            device.limit = device.allocated + max(peaks) * 3 // 4
            try:
                return compute(self, batch)
            finally:
                device.limit = None

        monkeypatch.setattr(CompletionLoss, "__call__", limited)
        with pytest.warns(UserWarning, match="out of memory in training 8 rows at once; going on with 4"):
            record = record_of("lora", tmp_path / "limited", **given)
    assert (expected.train_rows_at_once, record.train_rows_at_once) == (None, 4)
    logs = [store_in(tmp_path / name).run_folder(run.run_id).log.read_text() for name in ("large", "limited")]
    losses, halved = ([json.loads(line)["loss"] for line in log.splitlines()] for log in logs)
    assert len(halved) == 3
    assert halved == pytest.approx(losses, rel=1e-6)


def test_a_stopped_run_goes_on_with_the_rows_that_fitted(tmp_path, monkeypatch):
    run, store = small("lora", **QUICK | {"steps": 6}), store_in(tmp_path)
    compute, rows = CompletionLoss.__call__, []

    def limited(self, batch):
        rows.append(len(batch["labels"]))
        if rows[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(self, batch)

    monkeypatch.setattr(CompletionLoss, "__call__", limited)
    with gpu():
        with pytest.warns(UserWarning, match="going on with 2"), pytest.raises(Interrupted, match="at step"):
            make(run, store, stop=StopAfter(3))
        del rows[:]
        assert make(run, store).record.train_rows_at_once == 2
    assert set(rows) == {2}


def test_the_event_of_a_step_is_recorded_on_the_stream_of_its_values(monkeypatch):
    recorded: list[object] = []
    with gpu():
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: ("stream", device))
        monkeypatch.setattr(torch.cuda.Event, "record", lambda self, stream=None: recorded.append(stream))
        StepMetrics(torch.ones((), device="cuda"), torch.ones((), device="cuda"), None)
    assert recorded == [("stream", torch.device("cuda", 0))]


STICKY = "CUDA error: device-side assert triggered"


def fail_with_sticky_error(monkeypatch, device, in_step: int) -> None:
    compute, calls = CompletionLoss.__call__, []

    def failing(self, batch):
        calls.append(1)
        if len(calls) == in_step:
            device.sticky_error = STICKY
        return compute(self, batch)

    monkeypatch.setattr(CompletionLoss, "__call__", failing)


def test_a_sticky_error_ends_the_sweep_of_a_process_after_the_run_that_met_it(tmp_path, monkeypatch):
    runs, store, models, lines = (
        [small(name, **QUICK) for name in ("lora", "pissa", "ia3")],
        store_in(tmp_path),
        ModelCache(),
        [],
    )
    with gpu() as device:
        fail_with_sticky_error(monkeypatch, device, in_step=5)
        tally = make_all(Sweep(runs), store, lambda run, _: make(run, store, models=models), lines.append, Order())
    assert (tally.recorded, tally.failed, tally.refused, tally.device_is_dead) == (2, 1, 0, True)
    ok, failed = read_records(store.table)
    assert (ok.run_id, ok.status) == (runs[0].run_id, "ok")
    assert (failed.run_id, failed.status, failed.failed_by) == (runs[1].run_id, "failed", "machine")
    assert failed.error == f"AcceleratorError: {STICKY}"
    assert len(lines) == 2, "the third run is left to another process"


def test_a_device_is_dead_after_a_sticky_error_and_not_for_lack_of_memory():
    with gpu() as device:
        assert not device_is_dead("auto")
        device.limit = device.allocated
        assert not device_is_dead("cuda")
        device.sticky_error = STICKY
        assert device_is_dead("cuda:0")
        assert device_is_dead("auto")
        assert not device_is_dead("cpu")
    assert not device_is_dead("auto")


def test_an_export_made_on_the_gpu_holds_the_tensors_of_one_made_on_the_cpu(tmp_path):
    run, store = small("lora", **QUICK), store_in(tmp_path)
    make(run, store)
    for place, device in (("cpu", nullcontext()), ("cuda", gpu())):
        with device:
            export_merged(run.run_id, tmp_path / place / "merged", store)
            export_peft(run.run_id, tmp_path / place / "peft", store)
    for name in ("merged/model.safetensors", "peft/adapter_model.safetensors"):
        expected, exported = (load_file(tmp_path / place / name) for place in ("cpu", "cuda"))
        assert exported.keys() == expected.keys()
        assert all(torch.equal(tensor, exported[key]) for key, tensor in expected.items())


def test_costs_are_measured_on_the_gpu_and_its_memory_is_that_of_the_device():
    run = small("antipasto", **QUICK)
    model, tokenizer = load_model(run)
    examples = drawn_examples(run, tokenizer, ModelCache().splits(run))
    del model
    with gpu() as device:
        costs = measure_here(run, examples)
        assert 0 < costs.peak_bytes <= device.peak
    for field in ("attach_cold_s", "attach_warm_s", "merge_s"):
        assert getattr(costs, field) > 0, field


def test_an_adapter_that_is_taken_off_leaves_the_base_and_its_memory():
    run = small("antipasto", **QUICK)
    with gpu() as device:
        models = ModelCache()
        model, tokenizer = models.model(run)
        gc.collect()
        allocated = device.allocated
        attach(run, model, tokenizer, models.examples(run, tokenizer))
        assert device.allocated > allocated
        models.give_back(run, model)
        gc.collect()
        assert models.holds_a_model
        assert device.allocated == allocated
