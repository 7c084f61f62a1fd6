"""Claims about one process that makes the runs of a sweep one after another."""

import errno
from types import SimpleNamespace

import pytest
from small_runs import make, small, store_in

from antipasto_bench.core.errors import UserError
from antipasto_bench.core.files import write_bytes
from antipasto_bench.run.execute import Outcome
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.spec.sweep import Sweep
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import append, read_records, read_table
from antipasto_bench.sweeps import sweep as sweep_module
from antipasto_bench.sweeps.command import SWEEP_BEGAN, SweepCommand
from antipasto_bench.sweeps.engine import Engine
from antipasto_bench.sweeps.processes import WorkersEnded
from antipasto_bench.sweeps.scheduler import DEAD_DEVICE, Order, Tally, make_all


def test_no_more_runs_are_made_than_the_limit(tmp_path):
    sweep = Sweep([small("lora", seed=seed) for seed in range(4)])
    lines: list[str] = []
    tally = make_all(sweep, store_in(tmp_path), lambda run, _: Outcome("ok", run.run_id), lines.append, Order(limit=3))
    assert (tally.recorded, tally.failed, tally.refused) == (3, 0, 0)
    assert lines == [f"[{number}/3] {run.run_id}" for number, run in enumerate(sweep.runs[:3], start=1)]


def test_a_full_disk_is_recorded_as_the_failure_of_its_run(tmp_path):
    run, store = small("lora"), store_in(tmp_path)
    store.locks.mkdir(parents=True)

    def fill(run, failed_before):
        raise OSError(errno.ENOSPC, "No space left on device")

    tally = make_all(Sweep([run]), store, fill, print, Order())
    assert (tally.recorded, tally.failed, tally.refused) == (1, 1, 0)
    assert [record.error for record in read_records(store.table)] == ["the disk is full"]


def test_an_error_of_one_run_does_not_end_the_others(tmp_path):
    runs = [small("lora"), small("ia3")]
    lines, attempted = [], []

    def fail(run, failed_before):
        attempted.append(run.variant)
        raise KeyError("a bug")

    tally = make_all(Sweep(runs), store_in(tmp_path), fail, lines.append, Order())
    assert attempted == ["lora", "ia3"]
    assert tally.refused == 2
    assert "error: KeyError: 'a bug'" in lines


@pytest.mark.slow
def test_a_finished_run_that_the_table_has_no_room_for_is_kept_for_later(tmp_path, monkeypatch):
    run, store, models = small("lora"), store_in(tmp_path), ModelCache()

    def with_full_items(path, content):
        if path == store.items(run.run_id):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("antipasto_bench.store.recording.write_bytes", with_full_items)
        tally = make_all(Sweep([run]), store, lambda run, _: make(run, store, models=models), print, Order())
    assert (tally.recorded, tally.refused) == (0, 1)
    assert store.run_folder(run.run_id).adapter.exists()
    assert make(run, store).status == "ok"
    assert read_table(store.table)["status"].to_list() == ["ok"]


@pytest.mark.parametrize(("worker", "code"), [(False, 1), (True, DEAD_DEVICE)])
def test_a_process_whose_device_is_dead_ends_its_sweep_and_a_worker_tells_by_its_exit_code(
    worker, code, tmp_path, monkeypatch
):
    lines: list[str] = []
    output = SimpleNamespace(log=lines.append, outcome=print, worker_line=print)
    monkeypatch.setattr(sweep_module, "_make_runs", lambda *_: Tally(recorded=1, failed=1, device_is_dead=True))
    if worker:
        monkeypatch.setenv(SWEEP_BEGAN, "2026-01-01T00:00:00+00:00")
    sweep = Sweep([small("lora"), small("ia3")])
    ended = sweep_module.run_sweep(sweep, store_in(tmp_path), Engine(), SweepCommand(["lora,ia3"]), output)
    assert ended == code
    if not worker:
        assert lines[-1] == (
            "the device is in an error state, which lasts until this process ends: the same command goes on with the "
            "rest, and with --retry-failed makes what failed again"
        )


def test_a_sweep_with_failures_exits_1_each_time_and_its_last_line_says_what_makes_them_again(tmp_path):
    lines: list[str] = []
    output = SimpleNamespace(log=lines.append, outcome=print, worker_line=print, all_done=lines.append)
    store, sweep = store_in(tmp_path), Sweep([small("lora"), small("ia3")])
    for run, status in zip(sweep.runs, ("failed", "ok"), strict=True):
        record = RunRecord.of(run, run.run_id)
        record.status = status
        append(store.table, record)
    for _ in range(2):  # neither makes a run
        assert sweep_module.run_sweep(sweep, store, Engine(), SweepCommand(["lora,ia3"]), output) == 1
        assert lines[-1] == (
            "1 of 2 runs have failed: `antipasto-bench list` says why, and the same command with --retry-failed makes "
            "them again"
        )
    done = RunRecord.of(sweep.runs[0], sweep.runs[0].run_id)
    done.status = "ok"
    append(store.table, done)
    assert sweep_module.run_sweep(sweep, store, Engine(), SweepCommand(["lora,ia3"]), output) == 0
    assert lines[-1] == 2


def test_workers_that_make_no_run_of_a_sweep_with_failures_end_it_with_1_too(tmp_path, monkeypatch):
    lines: list[str] = []
    output = SimpleNamespace(log=lines.append, outcome=print, worker_line=print)
    store, run = store_in(tmp_path), small("lora")
    record = RunRecord.of(run, run.run_id)
    record.status = "failed"
    append(store.table, record)
    monkeypatch.setattr(sweep_module, "run_workers", lambda *_: WorkersEnded([0, 0], 0))
    command = SweepCommand(["lora"])
    assert sweep_module.run_sweep(Sweep([run]), store, Engine(workers=2), command, output) == 1
    assert "--retry-failed" in lines[-1]


def test_a_run_that_could_not_be_made_on_a_dead_device_is_the_last_one_of_its_process(tmp_path, monkeypatch):
    def fail(run, failed_before):
        raise UserError("model=nano: cannot be loaded (CUDA error: device-side assert triggered)")

    monkeypatch.setattr("antipasto_bench.sweeps.scheduler.device_is_dead", lambda name, every: not every)
    tally = make_all(Sweep([small("lora"), small("ia3")]), store_in(tmp_path), fail, print, Order())
    assert (tally.refused, tally.recorded, tally.device_is_dead) == (1, 0, True)


def test_of_a_model_that_is_spread_over_all_gpus_any_of_them_may_be_the_dead_one(tmp_path, monkeypatch):
    def fail(run, failed_before):
        raise UserError("model=nano: cannot be loaded (CUDA error: device-side assert triggered)")

    monkeypatch.setattr("antipasto_bench.sweeps.scheduler.device_is_dead", lambda name, every=False: every)
    runs = [small("lora", device_map="auto"), small("ia3", device_map="auto")]
    tally = make_all(Sweep(runs), store_in(tmp_path), fail, print, Order())
    assert (tally.refused, tally.device_is_dead) == (1, True)
