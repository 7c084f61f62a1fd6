"""Leases: which process makes a run, noted beside the run's lock for people and plans. The lock alone decides."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..core.errors import UserError
from ..core.files import read_regular, write_json
from ..core.process_identity import CLOCK_S, started_at
from .folders import Store

STALE_S = 900.0  # a lease from another machine counts for so long after the run's last step


def _time_with_zone(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("expected a time with its zone")
    return text


class Holder(BaseModel):
    """The file of a lease."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    host: str
    pid: Annotated[int, Field(ge=1, lt=2**31)]
    since: Annotated[str, AfterValidator(_time_with_zone)]  # UTC, ISO 8601
    started: float | None = None  # seconds from the boot to its start, which tell it from a later one of its number
    node: str | None = None  # of a cluster, where that process has the run made
    step: int | None = None  # as that node reported it
    died: list[
        tuple[int, float | None]
    ] = []  # pid and `started` of this host's processes that died over the run before

    def is_of(self, pid: int, started: float | None) -> bool:
        """Whether a process of this host holds it."""
        return self.host == socket.gethostname() and _is_one_process((self.pid, self.started), (pid, started))

    def died_over(self, pid: int, started: float | None) -> bool:
        """Whether a process of this host died over the run before another took it on."""
        here = self.host == socket.gethostname()
        return here and any(_is_one_process(each, (pid, started)) for each in self.died)


def _is_one_process(a: tuple[int, float | None], b: tuple[int, float | None]) -> bool:
    """By pid, and by start where both are known: a restarted container gives its pids again."""
    return a[0] == b[0] and (a[1] is None or b[1] is None or abs(a[1] - b[1]) < CLOCK_S)


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
        host, pid = socket.gethostname(), os.getpid()
        died: list[tuple[int, float | None]] = []
        last = noted_lease(run_id, store)  # left by one that died: whoever holds the lock finds no other
        if last is not None and last.holder.host == host and not last.holder.is_of(pid, started_at(pid)):
            died = [*last.holder.died, (last.holder.pid, last.holder.started)]
        self._holder = Holder(host=host, pid=pid, since=now, started=started_at(pid), died=died)

    def write(self) -> None:
        with suppress(OSError):  # a full disk: the lock holds all the same
            write_json(self._path, self._holder.model_dump(exclude_defaults=True))

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
        return Lease(run_id, Holder.model_validate_json(read_regular(store.lease(run_id))))
    except (OSError, ValidationError, UserError):
        return None


def live_leases(store: Store) -> list[Lease]:
    """The lease of every run being made, sorted by run id."""
    run_ids = sorted(path.stem for path in store.locks.glob("*.json"))
    return [lease for run_id in run_ids if (lease := live_lease(run_id, store)) is not None]


def _alive(lease: Lease, store: Store) -> bool:
    holder = lease.holder
    if holder.host == socket.gethostname():
        started = started_at(holder.pid)
        return started is not None and (holder.started is None or abs(holder.started - started) < CLOCK_S)
    last_written = 0.0
    for path in (store.lease(lease.run_id), store.workspace(lease.run_id).log):
        with suppress(OSError):
            last_written = max(last_written, path.stat().st_mtime)
    return abs(datetime.now(UTC).timestamp() - last_written) < STALE_S  # a time far ahead is of a clock that was set


def logged_step(run_id: str, store: Store) -> int | None:
    """The last step that a run under way has logged; None before its first."""
    try:
        lines = read_regular(store.workspace(run_id).log).splitlines()
        return int(json.loads(lines[-1])["step"]) if lines else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
