"""Claims about leases: they tell which living process makes a run, whatever happens to clocks and process numbers."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from antipasto_bench.core.process_identity import started_at
from antipasto_bench.store.folders import Store
from antipasto_bench.store.leases import leased, live_lease, live_leases, noted_lease

RUN = "nano__lora__r16__lr0.01__s300__seed0__01234567"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results", tmp_path / "outputs")


def test_a_lease_is_live_while_its_process_holds_it_and_gone_after(store):
    with leased(RUN, store) as lease:
        assert live_lease(RUN, store).holder.pid == os.getpid()
        assert live_lease(RUN, store).who == f"process {os.getpid()}"
        assert [live.run_id for live in live_leases(store)] == [RUN]
        lease.report("node-7", 12)
        assert live_lease(RUN, store).who == f"node-7 for process {os.getpid()}"
        assert live_lease(RUN, store).holder.step == 12
    assert noted_lease(RUN, store) is None
    assert live_leases(store) == []


def test_a_clock_that_is_set_while_a_run_goes_on_ends_no_lease(store, monkeypatch):
    with leased(RUN, store):
        created, booted = psutil.Process().create_time(), psutil.boot_time()
        monkeypatch.setattr(psutil, "boot_time", lambda: booted + 3600)
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: created + 3600)
        assert live_lease(RUN, store) is not None


def test_a_later_process_of_the_same_number_does_not_hold_it(store, monkeypatch):
    with leased(RUN, store):
        created = psutil.Process().create_time()
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: created + 60)
        assert live_lease(RUN, store) is None
        assert noted_lease(RUN, store) is not None


@pytest.mark.parametrize("pid", [-1, 2**22 + 1])
def test_a_number_that_no_process_has_holds_nothing(store, pid):
    with leased(RUN, store):
        path = store.lease(RUN)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": pid}))
        assert live_lease(RUN, store) is None


@pytest.mark.parametrize("text", ["", "[]", "null", '{"pid": "many"}', '{"host": 3}', "\0" * 40])
def test_a_damaged_lease_is_none(store, text):
    store.locks.mkdir(parents=True)
    store.lease(RUN).write_text(text)
    assert noted_lease(RUN, store) is None


def test_a_killed_process_whose_parent_has_not_waited_for_it_holds_no_lease(store):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with leased(RUN, store):
        path = store.lease(RUN)
        noted = json.loads(path.read_text()) | {"pid": child.pid, "started": started_at(child.pid)}
        path.write_text(json.dumps(noted))
        assert live_lease(RUN, store).holder.pid == child.pid
        child.kill()
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert live_lease(RUN, store) is None
    child.communicate()


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_lease_of_another_machine_counts_near_its_last_sign_of_life_alone(store, hours):
    """Two hours in the future is what a clock that was set back makes of an old one."""
    with leased(RUN, store):
        path = store.lease(RUN)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "node-7"}))
        assert live_lease(RUN, store) is not None
        then = time.time() + 3600 * hours
        os.utime(path, (then, then))
        assert live_lease(RUN, store) is None


def test_a_pipe_in_place_of_a_lease_is_none_and_is_not_waited_for(store):
    store.locks.mkdir(parents=True)
    os.mkfifo(store.lease(RUN))
    assert live_leases(store) == []
