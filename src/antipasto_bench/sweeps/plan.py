"""The state of each run of a sweep: done, running, failed, owed, or waiting for the choice of a learning rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from ..core.places import recorded_name
from ..spec.config import RunConfig
from ..spec.selection import Validation, choose_rate, rate_family
from ..spec.sweep import Sweep
from ..store.folders import Store
from ..store.leases import Lease, live_lease
from ..store.outcomes import validation_of
from ..store.record import RunRecord
from ..store.table import read_records, same_run

State = Literal["done", "running", "failed", "owed", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "failed", "owed", "waiting")


@dataclass(frozen=True)
class Planned:
    """A run of a sweep, and its state."""

    run: RunConfig
    run_id: str
    state: State
    lease: Lease | None = None  # of the process that makes it now
    failed_at: str | None = None  # UTC, ISO 8601
    requested: str | None = None  # id that was named, where the row of the same content has another
    withholds_choice: bool = False  # it tries a learning rate, and failed by no fault of that rate


def plan(sweep: Sweep, store: Store) -> list[Planned]:
    """The state of each run, in the sweep's order; runs that the choice of a learning rate ruled out are left out."""
    records = {record.run_id: record for record in read_records(store.table)}
    planned = [_planned(run, records, store) for run in sweep.runs]
    return _apply_choice(planned, records) if sweep.choose else planned


def _planned(run: RunConfig, records: Mapping[str, RunRecord], store: Store) -> Planned:
    run_id = run.run_id
    record = same_run(records, run_id)
    if record is not None and record.status == "ok":
        return Planned(run, record.run_id, "done", requested=run_id if run_id != record.run_id else None)
    lease = live_lease(run_id, store)
    if lease is not None:
        return Planned(run, run_id, "running", lease)
    if record is not None:
        return Planned(run, run_id, "failed", failed_at=record.finished_at)
    return Planned(run, run_id, "owed")


def due(planned: list[Planned], retry_before: str | None = None) -> list[Planned]:
    """The runs to make now: those that are owed, and failures recorded before `retry_before` (UTC, ISO 8601)."""

    def retried(p: Planned) -> bool:
        return retry_before is not None and p.state == "failed" and (p.failed_at or "") < retry_before

    return [p for p in planned if p.state == "owed" or retried(p)]


def summary(planned: list[Planned]) -> str:
    """How many runs there are in each state."""
    counts = Counter(p.state for p in planned)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


def overview(planned: list[Planned], store: Store) -> str:
    """How many runs there are in each state, and how long one process would take for what is owed."""
    seconds = estimate(planned, store)
    work = f", about {format_duration(seconds)} of one process" if seconds else ""
    copies = [p for p in planned if p.requested is not None]
    same = f"; {len(copies)} done under another name of the same model, such as {copies[0].run_id}" if copies else ""
    return f"{len(planned)} runs: {summary(planned)}{work}{same}"


def estimate(planned: list[Planned], store: Store) -> float | None:
    """Seconds that one process would take for what is owed, by the median of finished runs of the same kind.

    The same kind is the same variant, model and number of steps; else the same model and steps. None where no such run
    has finished. Runs that wait for a choice count as owed, though some of them will not have to be made.
    """
    seconds: dict[Hashable, list[float]] = {}
    for record in read_records(store.table):
        if record.status == "ok" and record.total_s is not None:
            for kind in ((record.model, record.steps, record.variant), (record.model, record.steps)):
                seconds.setdefault(kind, []).append(record.total_s)
    total, known = 0.0, False
    for p in planned:
        if p.state in ("owed", "waiting"):
            model, steps = recorded_name(p.run.model), p.run.steps if p.run.trains else None
            past = seconds.get((model, steps, p.run.variant)) or seconds.get((model, steps)) or []
            known = known or bool(past)
            total += median(past) if past else 0.0
    return total if known else None


def format_duration(seconds: float) -> str:
    """A time in words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _apply_choice(planned: list[Planned], records: Mapping[str, RunRecord]) -> list[Planned]:
    """The plan where the first seed of each family tries every learning rate, and the other seeds use the best one."""
    families: dict[Hashable, list[Planned]] = {}
    for p in planned:
        families.setdefault(rate_family(p.run.protocol, p.run), []).append(p)
    remaining: dict[str, Planned] = {}
    for members in families.values():
        first = members[0].run.seed
        trials = [p for p in members if p.run.seed == first]
        others = [p for p in members if p.run.seed != first]
        if len({p.run.lr for p in members}) > 1:
            trials = [replace(p, withholds_choice=_failed_by_machine(p, records)) for p in trials]
        lr = _chosen_rate(members, trials, records)
        if lr is None:
            others = [replace(p, state="waiting") if p.state == "owed" else p for p in others]
        else:
            others = [p for p in others if p.run.lr == lr]
        remaining |= {p.run_id: p for p in [*trials, *others]}
    return [remaining[p.run_id] for p in planned if p.run_id in remaining]


def _chosen_rate(members: list[Planned], trials: list[Planned], records: Mapping[str, RunRecord]) -> float | None:
    """The learning rate of a family's other seeds: the one that validation chooses.

    A report of the same runs shows it, too, unless `tune` found another that has as many seeds.

    None while its trials, all of one seed, are not all made. A trial that the machine failed is still to be made: its
    rate may be the best.
    """
    rates = {p.run.lr for p in members}
    if len(rates) == 1:
        return next(iter(rates))
    if any(p.withholds_choice or p.state not in ("done", "failed") for p in trials):
        return None
    tried: dict[float, dict[int, Validation]] = {}
    for p in members:
        if p.state in ("done", "failed") and (validation := validation_of(records[p.run_id])) is not None:
            tried.setdefault(p.run.lr, {})[p.run.seed] = validation
    choice = choose_rate(tried)
    return None if choice is None else choice.lr


def _failed_by_machine(p: Planned, records: Mapping[str, RunRecord]) -> bool:
    return p.state == "failed" and records[p.run_id].failed_by == "machine"
