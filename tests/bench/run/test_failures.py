"""Claims about failed runs: the record says whether the run or the machine was at fault."""

import errno

import pytest
import torch
from small_runs import make, small, store_in

from antipasto_bench.core.errors import RunFailure
from antipasto_bench.run import adapt
from antipasto_bench.run.failures import record_dead_run
from antipasto_bench.store.table import find


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "by", "said"),
    [
        (RunFailure("the loss is nan at step 3 of 12 (lr 1)"), "run", "the loss is nan"),
        (torch.linalg.LinAlgError("linalg.svd: the algorithm failed to converge"), "run", "_LinAlgError: linalg.svd"),
        (torch.OutOfMemoryError("CUDA out of memory."), "machine", "out of memory: CUDA out of memory"),
        (torch.AcceleratorError("CUDA error: device-side assert"), "machine", "AcceleratorError: CUDA error"),
        (MemoryError("no room"), "machine", "out of memory: no room"),
    ],
)
def test_a_run_that_diverged_is_told_from_one_that_the_machine_failed(error, by, said, tmp_path, monkeypatch):
    run, store = small("lora"), store_in(tmp_path)

    def fail(*arguments):
        raise error

    monkeypatch.setattr(adapt, "train", fail)
    outcome = make(run, store)
    assert (outcome.status, outcome.device_is_dead) == ("failed", False)
    record = find(store.table, run.run_id)
    assert record.failed_by == by
    assert record.error.startswith(said)


@pytest.mark.parametrize(
    "error", [RunFailure("its worker died 2 times, the last time of SIGKILL"), OSError(errno.ENOSPC, "No space left")]
)
def test_a_run_whose_process_was_lost_or_whose_disk_was_full_was_failed_by_the_machine(error, tmp_path):
    run, store = small("lora"), store_in(tmp_path)
    assert record_dead_run(run, error, store).failed_by == "machine"
    assert find(store.table, run.run_id).failed_by == "machine"


def test_what_is_said_of_a_lost_worker_is_what_older_records_are_known_by():
    from antipasto_bench.store.migrations import MIGRATIONS

    for error, by in {
        "out of memory: CUDA out of memory. Tried": "machine",
        "the disk is full": "machine",
        "its worker died 2 times, the last time of SIGKILL": "machine",
        "its node was lost 5 times": "machine",
        "RuntimeError: CUDA error: device-side assert triggered": "machine",
        "the loss is nan at step 3 of 300 (lr 1)": "run",
        "the gradient norm is inf at step 3 of 300 (lr 1)": "run",
        "the base model's weights changed while the adapter was trained": "run",
        "RuntimeError: shapes cannot be multiplied": None,
    }.items():
        assert MIGRATIONS[2]({"status": "failed", "error": error})["failed_by"] == by, error
    assert "failed_by" not in MIGRATIONS[2]({"status": "ok", "error": None})


@pytest.mark.skipif(torch.cuda.is_available(), reason="cuda is here")
def test_a_run_that_ran_out_of_memory_on_a_device_of_another_machine_is_recorded(tmp_path):
    run, store = small("lora", device="cuda"), store_in(tmp_path)
    assert record_dead_run(run, torch.OutOfMemoryError("CUDA out of memory."), store).error.startswith("out of memory")
    assert find(store.table, run.run_id).failed_by == "machine"
