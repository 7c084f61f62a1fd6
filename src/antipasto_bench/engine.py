"""Make what a sweep owes, one run after another, beside any other process that does the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .config import RunConfig
from .errors import UserError, disk_is_full
from .paths import Store
from .plan import Planned, due, plan
from .run import Outcome, record_loss
from .sweep import Sweep

WAIT_S = 2.0


@dataclass
class Tally:
    """What became of the runs that one process took on."""

    made: int = 0
    failed: int = 0
    refused: int = 0  # could not be made, and no row tells of them


@dataclass(frozen=True)
class Order:
    """Which runs, and which first."""

    retry_before: str | None = None  # failures recorded before this time (UTC, ISO 8601) are made again
    limit: int | None = None
    shuffle: int | None = None  # a seed

    def of(self, planned: list[Planned]) -> list[Planned]:
        left = due(planned, self.retry_before)
        if self.shuffle is not None:
            Random(self.shuffle).shuffle(left)
        return left


def make_all(
    asked: Sweep, store: Store, make: Callable[[RunConfig, bool], Outcome], say: Callable[[str], None], order: Order
) -> Tally:
    """Make every run that is owed and that nobody else makes, until none is left.

    Args:
        make: given a run and whether it failed before; raises where it cannot be made.
        say: told what goes on.
    """
    tally, tried = Tally(), set[str]()
    while order.limit is None or tally.made + tally.refused < order.limit:
        # Planned anew before each run: another process may have made some, and a choice may have fallen.
        planned = plan(asked, store)
        left = [p for p in order.of(planned) if p.run_id not in tried]
        if not left:
            if {"waiting", "running"} <= {p.state for p in planned}:  # on a choice that is being made elsewhere
                time.sleep(WAIT_S)
                continue
            break
        p, number = left[0], len(tried) + 1
        tried.add(p.run_id)
        total = number + len(left) - 1
        say(f"[{number}/{total if order.limit is None else min(total, order.limit)}] {p.run_id}")
        try:
            outcome = make(p.run, p.state == "failed")
        except Exception as error:  # of this run alone: the others go on
            say(f"error: {error if isinstance(error, UserError) else f'{type(error).__name__}: {error}'}")
            if not _recorded_as_full(p.run, error, store):
                tally.refused += 1
                continue
            outcome = Outcome("failed", p.run_id)
        tally.made += outcome.status in ("ok", "failed")
        tally.failed += outcome.status == "failed"
    return tally


def _recorded_as_full(run: RunConfig, error: Exception, store: Store) -> bool:
    """Record a run as failed if what ended it is a full disk, and the table can still be written."""
    if not disk_is_full(error):
        return False
    try:
        record_loss(run, error, store)
    except OSError:
        return False
    return True
