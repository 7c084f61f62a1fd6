"""Who is making which run: a note beside each run's lock, for people and plans. The lock alone decides."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.files import write_json
from .folders import Store

STALE_S = 900.0  # a note from another machine counts for so long after the run's last step


@dataclass(frozen=True)
class Claim:
    run_id: str
    host: str
    pid: int
    since: str  # UTC, ISO 8601
    born: str | None = None  # tells a process from a later one of the same number
    node: str | None = None  # of a cluster, where that process has it made
    step: int | None = None  # as that node told it

    @property
    def who(self) -> str:
        own = f"process {self.pid}" if self.host == socket.gethostname() else f"process {self.pid} on {self.host}"
        return own if self.node is None else f"{self.node} for {own}"


def lock_of(run_id: str, store: Store) -> Path:
    return store.locks / f"{run_id}.lock"


def making_of(run_id: str, store: Store) -> Path:
    return store.outputs / ".making" / run_id


@contextmanager
def claimed(run_id: str, store: Store) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Say for the length of a block that this process makes the run; to be used under the run's lock.

    Gives a function that adds to what is said: `node` and `step`.
    """
    note = lock_of(run_id, store).with_suffix(".json")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    who = {"host": socket.gethostname(), "pid": os.getpid(), "since": now, "born": _born(os.getpid())}

    def say(more: dict[str, Any]) -> None:
        with suppress(OSError):  # a full disk: the lock holds all the same
            write_json(note, who | more)

    say({})
    try:
        yield say
    finally:
        note.unlink(missing_ok=True)


def claim_on(run_id: str, store: Store) -> Claim | None:
    """Who makes the run now; None where nobody does, or whoever did has died."""
    claim = note_on(run_id, store)
    return claim if claim is not None and _alive(claim, store) else None


def note_on(run_id: str, store: Store) -> Claim | None:
    """What is noted of the run, by a process that may have died since."""
    note = lock_of(run_id, store).with_suffix(".json")
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
        own = Claim(run_id, str(kept["host"]), int(kept["pid"]), str(kept["since"]), kept.get("born"))
        return replace(own, node=kept.get("node"), step=kept.get("step"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alive(claim: Claim, store: Store) -> bool:
    if claim.host == socket.gethostname():
        try:
            os.kill(claim.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return claim.born == _born(claim.pid)
        return claim.born == _born(claim.pid)
    last = 0.0
    for path in (lock_of(claim.run_id, store).with_suffix(".json"), making_of(claim.run_id, store) / "log.jsonl"):
        with suppress(OSError):
            last = max(last, path.stat().st_mtime)
    return datetime.now(UTC).timestamp() - last < STALE_S


def _born(pid: int) -> str | None:
    """Which boot, and when in it; None where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return None


def step_of(run_id: str, store: Store) -> int | None:
    """The last step that a run in the making has logged; None before its first."""
    try:
        lines = (making_of(run_id, store) / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return int(json.loads(lines[-1])["step"]) if lines else None
    except (OSError, ValueError, KeyError):
        return None
