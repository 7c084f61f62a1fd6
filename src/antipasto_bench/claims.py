"""Who is making which run: a note beside each run's lock, for people and plans. The lock alone decides."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .paths import Store
from .results import write_json

STALE_S = 900.0  # a note from another machine counts for so long after the run's last step


@dataclass(frozen=True)
class Claim:
    run_id: str
    host: str
    pid: int
    since: str  # UTC, ISO 8601

    @property
    def who(self) -> str:
        return f"process {self.pid}" if self.host == socket.gethostname() else f"process {self.pid} on {self.host}"


def lock_of(run_id: str, store: Store) -> Path:
    return store.outputs / ".locks" / f"{run_id}.lock"


def making_of(run_id: str, store: Store) -> Path:
    return store.outputs / ".making" / run_id


@contextmanager
def claimed(run_id: str, store: Store) -> Iterator[None]:
    """Say for the length of a block that this process makes the run; to be used under the run's lock."""
    note = lock_of(run_id, store).with_suffix(".json")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(note, {"host": socket.gethostname(), "pid": os.getpid(), "since": now})
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def claim_on(run_id: str, store: Store) -> Claim | None:
    """Who makes the run now; None where nobody does, or whoever did has died."""
    note = lock_of(run_id, store).with_suffix(".json")
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
        claim = Claim(run_id, str(kept["host"]), int(kept["pid"]), str(kept["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return claim if _alive(claim, note, store) else None


def _alive(claim: Claim, note: Path, store: Store) -> bool:
    if claim.host == socket.gethostname():
        try:
            os.kill(claim.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    log = making_of(claim.run_id, store) / "log.jsonl"
    last = max(path.stat().st_mtime for path in (note, log) if path.exists())
    return datetime.now(UTC).timestamp() - last < STALE_S


def step_of(run_id: str, store: Store) -> int | None:
    """The last step that a run in the making has logged; None before its first."""
    try:
        lines = (making_of(run_id, store) / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return int(json.loads(lines[-1])["step"]) if lines else None
    except (OSError, ValueError, KeyError):
        return None
