"""Make what a sweep owes, one run after another, beside any other process that does the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.errors import UserError, disk_is_full
from ..run.execute import Outcome, record_loss
from ..spec.config import RunConfig, one_line
from ..spec.grammar import parse_words
from ..spec.sweep import Sweep
from ..store.folders import Store
from ..store.leases import lock_of
from .plan import Planned, due, plan

WAIT_S = 2.0
DEATHS = 2  # of the processes that made it, after which a run counts as failed


class Engine(BaseModel):
    """How the runs of a sweep are made; no part of any run's identity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    engine: Literal["local", "ray"] = "local"
    workers: int | None = Field(None, ge=1, description="runs at once")
    address: str = Field("auto", description="of a Ray cluster, HOST:PORT")
    gpus: float = Field(1, gt=0, description="that each run takes of a Ray cluster which has any")
    cpus: int = Field(1, ge=1, description="that each run takes of a Ray cluster, and its threads")
    scratch: str | None = Field(None, description="folder on each node to make runs in, instead of outputs/")


def engine_of(words: list[str]) -> tuple[Engine, list[str]]:
    """Part a sweep's words into how its runs are made, and which.

    Raises:
        UserError: an unknown engine, or a value that does not fit.
    """
    names = Engine.model_fields
    own = [word for word in words if word.partition("=")[0] in names and "=" in word]
    _, axes = parse_words(own)
    for key, values in axes.items():
        if len(values) > 1:
            raise UserError(f"{key} says how the runs are made, and takes one value")
    given = {key: values[0] for key, values in axes.items()}
    given |= {key: str(given[key]) for key in ("address", "scratch") if key in given}
    try:
        how = Engine.model_validate(given)
    except ValidationError as error:
        raise UserError(one_line(error)) from error
    if how.gpus > 1 and how.gpus % 1:
        raise UserError(f"gpus={how.gpus:g}: a run takes a part of one GPU, or whole ones")
    foreign = [key for key in given if key in ("address", "gpus", "cpus", "scratch")]
    if how.engine == "local" and foreign:
        raise UserError(f"{foreign[0]} is for a Ray cluster; write engine=ray beside it")
    return how, [word for word in words if word not in own]


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
        left, waits = owed(asked, store, order, tried)
        if not left:
            if not waits:
                break
            time.sleep(WAIT_S)
            continue
        p, number = left[0], len(tried) + 1
        tried.add(p.run_id)
        total = number + len(left) - 1
        say(f"[{number}/{total if order.limit is None else min(total, order.limit)}] {p.run_id}")
        try:
            outcome = make(p.run, p.state == "failed")
        except Exception as error:  # of this run alone: the others go on
            say(f"error: {error if isinstance(error, UserError) else f'{type(error).__name__}: {error}'}")
            full = _recorded_as_full(p.run, error, store)
            if full is None:
                tally.refused += 1
                continue
            outcome = full
        tally.made += outcome.status in ("ok", "failed")
        tally.failed += outcome.status == "failed"
    return tally


def owed(asked: Sweep, store: Store, order: Order, tried: set[str]) -> tuple[list[Planned], bool]:
    """What is left to make, and whether more may come of a choice that is being made elsewhere.

    To be asked anew before each run: another process may have made some, and a choice may have fallen.
    """
    planned = plan(asked, store)
    left = [p for p in order.of(planned) if p.run_id not in tried]
    return left, {"waiting", "running"} <= {p.state for p in planned}


def _recorded_as_full(run: RunConfig, error: Exception, store: Store) -> Outcome | None:
    try:
        with FileLock(lock_of(run.run_id, store), timeout=0):
            return recorded_as_full(run, error, store)
    except Timeout:  # somebody has taken it up meanwhile
        return Outcome("running", run.run_id)
    except OSError:
        return None


def recorded_as_full(run: RunConfig, error: Exception, store: Store) -> Outcome | None:
    """Record a run as failed if what ended it is a full disk, and the table can still be written; under its lock."""
    if not disk_is_full(error):
        return None
    try:
        return record_loss(run, error, store)
    except OSError:
        return None
