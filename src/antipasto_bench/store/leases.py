"""Leases: which process makes a run, noted beside the run's lock for people and plans. The lock alone decides."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil
from pydantic import BaseModel, ValidationError

from ..core.files import write_json
from .folders import Store

CLOCK_S = 2.0  # by which two readings of one start may differ: the boot time is told in whole seconds
STALE_S = 900.0  # a lease from another machine counts for so long after the run's last step


class Holder(BaseModel):
    """The file of a lease."""

    host: str
    pid: int
    since: str  # UTC, ISO 8601
    started: float | None = None  # seconds from the boot to its start, which tell it from a later one of its number
    node: str | None = None  # of a cluster, where that process has the run made
    step: int | None = None  # as that node reported it


@dataclass(frozen=True)
class Lease:
    run_id: str
    holder: Holder

    @property
    def who(self) -> str:
        """The process in words."""
        pid, host, node = self.holder.pid, self.holder.host, self.holder.node
        process = f"process {pid}" if host == socket.gethostname() else f"process {pid} on {host}"
        return process if node is None else f"{node} for {process}"


class HeldLease:
    """This process's lease on a run."""

    def __init__(self, run_id: str, store: Store) -> None:
        self._path = store.lease(run_id)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._holder = Holder(host=socket.gethostname(), pid=os.getpid(), since=now, started=_started(os.getpid()))

    def write(self) -> None:
        with suppress(OSError):  # a full disk: the lock holds all the same
            write_json(self._path, self._holder.model_dump(exclude_none=True))

    def report(self, node: str, step: int | None) -> None:
        """Note on which node of a cluster the run is made, and how far it is."""
        self._holder = self._holder.model_copy(update={"node": node, "step": step})
        self.write()

    def release(self) -> None:
        self._path.unlink(missing_ok=True)


@contextmanager
def leased(run_id: str, store: Store) -> Iterator[HeldLease]:
    """Note for the length of a block that this process makes the run; to be used under the run's lock."""
    lease = HeldLease(run_id, store)
    lease.write()
    try:
        yield lease
    finally:
        lease.release()


def live_lease(run_id: str, store: Store) -> Lease | None:
    """The lease of the process that makes the run now; None where none does, or it has died."""
    lease = noted_lease(run_id, store)
    return lease if lease is not None and _alive(lease, store) else None


def noted_lease(run_id: str, store: Store) -> Lease | None:
    """The lease that is noted of the run, by a process that may have died since."""
    try:
        return Lease(run_id, Holder.model_validate_json(store.lease(run_id).read_bytes()))
    except (OSError, ValidationError):
        return None


def live_leases(store: Store) -> list[Lease]:
    """The lease of every run being made, sorted by run id."""
    run_ids = sorted(path.stem for path in store.locks.glob("*.json"))
    return [lease for run_id in run_ids if (lease := live_lease(run_id, store)) is not None]


def _alive(lease: Lease, store: Store) -> bool:
    holder = lease.holder
    if holder.host == socket.gethostname():
        started = _started(holder.pid)
        return started is not None and (holder.started is None or abs(holder.started - started) < CLOCK_S)
    last_written = 0.0
    for path in (store.lease(lease.run_id), store.workspace(lease.run_id).log):
        with suppress(OSError):
            last_written = max(last_written, path.stat().st_mtime)
    return datetime.now(UTC).timestamp() - last_written < STALE_S


def _started(pid: int) -> float | None:
    """Seconds from the boot of this machine to the start of a process; None where there is no such process.

    Not since 1970: a clock that is set while a run goes on would make its process another one.
    """
    try:
        return float(psutil.Process(pid).create_time() - psutil.boot_time())
    except (psutil.Error, ValueError):  # a number that no process has
        return None


def logged_step(run_id: str, store: Store) -> int | None:
    """The last step that a run under way has logged; None before its first."""
    try:
        lines = store.workspace(run_id).log.read_text(encoding="utf-8").splitlines()
        return int(json.loads(lines[-1])["step"]) if lines else None
    except (OSError, ValueError, KeyError):
        return None
