"""Claims about sweeps on a file system without file locks: as on any other, each run is made once and none is lost."""

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from command import QUICK, start

from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import read_table

pytestmark = [pytest.mark.slow, pytest.mark.long]
FAST = ["steps=40", *QUICK[1:], "eval.general=none", "checkpoint=2"]
SITE = """
import fcntl, os

def flock(handle, operation):
    raise OSError({number}, os.strerror({number}))

fcntl.flock = flock
"""


@pytest.fixture
def without_flock(tmp_path) -> dict[str, str]:
    """Environment variables of a Python whose file systems have no flock, as its workers inherit them."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE.format(number=errno.ENOLCK))
    return {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}


def holders(store: Store) -> dict[str, int]:
    """The process that makes each run, by the run's id, of runs that have a checkpoint."""
    pids = {}
    for note in store.locks.glob("*.json"):
        with suppress(OSError, ValueError):
            if list(store.workspace(note.stem).checkpoints.glob("step-*")):
                pids[note.stem] = int(json.loads(note.read_text())["pid"])
    return pids


def until(happens: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not happens():
        assert process.poll() is None, process.communicate(timeout=60)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def claims_of(store: Store) -> list[Path]:
    return [*store.locks.glob("*.lock.claims"), *store.results.glob("*.lock.claims")]


def test_two_workers_share_a_sweep_one_is_killed_then_all_are_and_the_same_command_ends_it(tmp_path, without_flock):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    words = ["sweep", "lora", "seed=0,1", *FAST, "--workers", "2"]
    first = start(*words, cwd=tmp_path, **without_flock)
    until(lambda: len(set(holders(store).values())) == 2, first)
    run_id, victim = min(holders(store).items())
    os.kill(victim, signal.SIGKILL)
    until(lambda: holders(store).get(run_id, victim) != victim, first)  # another process has taken its run over
    first.kill()
    for pid in holders(store).values():  # two, or one where the other run was finished in the meantime
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, err = first.communicate(timeout=60)
    assert "died of SIGKILL while making" in err
    assert run_id not in read_table(store.table)["run_id"]

    second = start(*words, cwd=tmp_path, **without_flock)
    _, err = second.communicate(timeout=280)
    assert second.returncode == 0, err
    assert f"{store.locks} is on a file system without file locks" in err
    assert read_table(store.table)["status"].to_list() == ["ok", "ok"]
    assert store.table.read_bytes().count(b"\n") == 2
    assert len(claims_of(store)) == 3, "of two runs and the table"
    assert all(claim.read_bytes() == b"" for folder in claims_of(store) for claim in folder.iterdir()), "all released"
