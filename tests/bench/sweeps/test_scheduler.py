"""Claims about one process that makes the runs of a sweep one after another."""

import errno

import pytest
from small_runs import make, small, store_in

from antipasto_bench.core.files import write_bytes
from antipasto_bench.run.execute import Outcome
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.spec.sweep import Sweep
from antipasto_bench.store.table import read_records, read_table
from antipasto_bench.sweeps.scheduler import Order, make_all


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
