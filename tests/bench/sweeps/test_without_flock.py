"""Claims about sweeps on a file system without file locks: as on any other, each run is made once and none is lost."""

import errno
import json
import os
import signal
import subprocess
import time
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


def holders(store: Store, process: subprocess.Popen[str]) -> set[int]:
    """The two processes that each make a run which has written a checkpoint."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        pids = set()
        for note in store.locks.glob("*.json"):
            with suppress(OSError, ValueError):
                if list(store.workspace(note.stem).checkpoints.glob("step-*")):
                    pids.add(int(json.loads(note.read_text())["pid"]))
        if len(pids) == 2:
            return pids
        time.sleep(0.01)
    raise AssertionError(f"no two runs began to train: {process.communicate(timeout=60)}")


def claims_of(store: Store) -> list[Path]:
    return [*store.locks.glob("*.lock.claims"), *store.results.glob("*.lock.claims")]


def test_two_workers_share_a_sweep_one_is_killed_then_all_are_and_the_same_command_ends_it(tmp_path, without_flock):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    words = ["sweep", "lora", "seed=0,1", *FAST, "--workers", "2"]
    first = start(*words, cwd=tmp_path, **without_flock)
    victim = min(holders(store, first))
    os.kill(victim, signal.SIGKILL)
    while victim in (pids := holders(store, first)):  # until another worker has taken its run over
        time.sleep(0.01)
    first.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    _, err = first.communicate(timeout=60)
    assert "died of SIGKILL while making" in err
    assert not store.table.exists()

    second = start(*words, cwd=tmp_path, **without_flock)
    _, err = second.communicate(timeout=280)
    assert second.returncode == 0, err
    assert f"{store.locks} is on a file system without file locks" in err
    assert read_table(store.table)["status"].to_list() == ["ok", "ok"]
    assert store.table.read_bytes().count(b"\n") == 2
    assert len(claims_of(store)) == 3, "of two runs and the table"
    assert all(claim.read_bytes() == b"" for folder in claims_of(store) for claim in folder.iterdir()), "all released"
