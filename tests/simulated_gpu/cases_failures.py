"""Claims about runs on a GPU that lacks memory or has met an error: what is lost, and what goes on."""

import gc
import json

import pytest
import torch
from cases_runs import MIB, QUICK, imported, record_of  # noqa: F401  # a fixture
from small_runs import StopAfter, make, small, store_in

from antipasto_bench.core.device import device_is_dead
from antipasto_bench.core.signals import Interrupted
from antipasto_bench.run.completion_loss import CompletionLoss
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.spec.sweep import Sweep
from antipasto_bench.store.table import read_records
from antipasto_bench.sweeps.scheduler import Order, make_all
from simulated_gpu import gpu


def test_a_step_that_does_not_fit_fails_the_run_and_not_the_next_one(tmp_path):
    run, store, models = small("lora", **QUICK), store_in(tmp_path), ModelCache()
    with gpu() as device:
        make(small("base", **QUICK), store, models=models)
        gc.collect()
        device.limit = device.allocated + MIB // 4  # the base and the adapter, and not a forward pass of one row
        with pytest.warns(UserWarning, match="out of memory in training 2 rows at once; going on with 1"):
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
