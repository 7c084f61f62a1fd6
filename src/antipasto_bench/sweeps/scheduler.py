"""Make the runs that a sweep owes, one after another, beside any other process that does the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Protocol

from ..core.device import device_is_dead
from ..core.errors import UserError, disk_is_full
from ..core.locks import HeldElsewhere, locked
from ..run.execute import Outcome
from ..run.failures import record_dead_run
from ..spec.config import RunConfig
from ..spec.sweep import Sweep
from ..store.folders import Store
from ..store.record import RunRecord
from .budget import in_time
from .plan import Planned, due, plan

WAIT_S = 2.0  # before the plan is read again, where other processes have the runs that the rest waits for
DEAD_DEVICE = 75  # exit code of a worker whose GPU is in an error state: EX_TEMPFAIL of sysexits.h
MOST_DEATHS = 2  # of the processes that made a run, after which it is recorded as failed

PrintLine = Callable[[str], None]  # prints a line about the sweep
PrintOutcome = Callable[[Outcome], None]  # prints the outcome of a run


class MakeRun(Protocol):
    """Makes one run; raises where it cannot be made."""

    def __call__(self, run: RunConfig, failed_before: bool, /) -> Outcome: ...


@dataclass
class Tally:
    """What became of the runs that one process took on."""

    recorded: int = 0  # as finished or failed
    failed: int = 0
    refused: int = 0  # could not be made, and have no row
    device_is_dead: bool = False  # for this process, which must leave the rest to another

    def count(self, outcome: Outcome) -> None:
        self.device_is_dead |= outcome.device_is_dead
        self.recorded += outcome.status in ("ok", "failed")
        self.failed += outcome.status == "failed"

    @property
    def taken(self) -> int:
        """Runs that count towards a limit."""
        return self.recorded + self.refused


@dataclass(frozen=True)
class Order:
    """Which runs of a sweep are made, and in what order."""

    retry_before: str | None = None  # failures recorded before this time (UTC, ISO 8601) are made again
    limit: int | None = None  # runs
    shuffle: int | None = None  # the seed of a random order
    ends: datetime | None = None  # no run is begun that would last longer, by what those of its arm took

    def select(self, planned: list[Planned], store: Store) -> list[Planned]:
        """The runs of a plan that are to be made now."""
        selected = due(planned, self.retry_before)
        if self.shuffle is not None:
            Random(self.shuffle).shuffle(selected)
        return selected if self.ends is None else in_time(selected, self.ends, store)


def make_all(sweep: Sweep, store: Store, make_run: MakeRun, print_line: PrintLine, order: Order) -> Tally:
    """Make every run that is owed and that no other process makes, until none is left or the device is dead."""
    tally, attempted = Tally(), set[str]()
    while not tally.device_is_dead and (order.limit is None or tally.taken < order.limit):
        pending, more_may_come = owed(sweep, store, order, attempted)
        if not pending:
            if not more_may_come:
                break
            time.sleep(WAIT_S)
            continue
        p, number = pending[0], len(attempted) + 1
        attempted.add(p.run_id)
        total = number + len(pending) - 1
        print_line(f"[{number}/{total if order.limit is None else min(total, order.limit)}] {p.run_id}")
        try:
            outcome = make_run(p.run, p.state == "failed")
        except Exception as error:  # of this run alone: the others go on
            print_line(f"error: {describe_error(error)}")
            recorded = _lock_and_record_full_disk(p.run, error, store)
            if recorded is None:
                tally.refused += 1
                tally.device_is_dead = device_is_dead(p.run.device, every=p.run.device_map == "auto")
                continue
            outcome = recorded
        tally.count(outcome)
    return tally


def owed(sweep: Sweep, store: Store, order: Order, attempted: set[str]) -> tuple[list[Planned], bool]:
    """The runs that are left to make, from a plan that is made anew on each call.

    Another process may have made some since the last call, and a learning rate may have been chosen.

    Args:
        attempted: ids of runs that this process has taken on already.

    Returns:
        the runs, and whether more may be owed later: some wait for a learning rate that other processes are trying.
    """
    planned = plan(sweep, store)
    pending = [p for p in order.select(planned, store) if p.run_id not in attempted]
    return pending, {"waiting", "running"} <= {p.state for p in planned}


def describe_error(error: Exception) -> str:
    """A user's error by its message; any other with its type before it."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def recorded_outcome(record: RunRecord) -> Outcome:
    """The outcome of a run that was recorded just now."""
    return Outcome("ok" if record.status == "ok" else "failed", record.run_id, record)


def record_full_disk(run: RunConfig, error: Exception, store: Store) -> Outcome | None:
    """Record a run as failed if a full disk ended it and the table can still be written; None otherwise.

    To be called under the run's lock.
    """
    if not disk_is_full(error):
        return None
    try:
        return recorded_outcome(record_dead_run(run, error, store))
    except OSError:
        return None


def _lock_and_record_full_disk(run: RunConfig, error: Exception, store: Store) -> Outcome | None:
    try:
        with locked(store.lock(run.run_id), wait=False):
            return record_full_disk(run, error, store)
    except HeldElsewhere:  # another process has taken it up meanwhile
        return Outcome("running", run.run_id)
    except (OSError, UserError):
        return None
