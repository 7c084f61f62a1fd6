"""Which of the runs that were asked for are done, being made, failed before, still owed, or waiting for a choice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from ..spec.config import RunConfig
from ..spec.selection import chosen, family_of
from ..spec.sweep import Sweep
from ..store.folders import Store
from ..store.leases import Claim, claim_on
from ..store.table import read_table

State = Literal["done", "running", "failed", "owed", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "failed", "owed", "waiting")


@dataclass(frozen=True)
class Planned:
    run: RunConfig
    run_id: str
    state: State
    claim: Claim | None = None  # whoever is making it
    failed_at: str | None = None  # UTC, ISO 8601


def plan(sweep: Sweep, store: Store) -> list[Planned]:
    """The state of each run, in the order asked for; those that a choice has ruled out are left out."""
    rows = {row["run_id"]: row for row in read_table(store.table).iter_rows(named=True)}
    states: dict[str | None, State] = {"ok": "done", "failed": "failed", None: "owed"}
    planned = []
    for run in sweep.runs:
        run_id = run.run_id
        state, claim = states[rows.get(run_id, {}).get("status")], None
        if state != "done":
            claim = claim_on(run_id, store)
            state = state if claim is None else "running"
        failed_at = rows[run_id]["finished_at"] if state == "failed" else None
        planned.append(Planned(run, run_id, state, claim, failed_at))
    return _with_choice(planned, rows) if sweep.choose else planned


def due(planned: list[Planned], retry_before: str | None = None) -> list[Planned]:
    """What is to be made now: what is owed, and failures recorded before a time (UTC, ISO 8601)."""

    def retried(p: Planned) -> bool:
        return retry_before is not None and p.state == "failed" and (p.failed_at or "") < retry_before

    return [p for p in planned if p.state == "owed" or retried(p)]


def summary(planned: list[Planned]) -> str:
    """How many runs there are in each state."""
    counts = Counter(p.state for p in planned)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


def estimate(planned: list[Planned], store: Store) -> float | None:
    """Seconds that one process would take for what is owed, by the median of finished runs of the same kind.

    Of the same variant, model and number of steps; else of the same model and steps; None where there is no such run.
    Runs that wait for a choice count as owed: some of them will not have to be made.
    """
    kinds: dict[tuple[Any, ...], list[float]] = {}
    for row in read_table(store.table).filter(status="ok").iter_rows(named=True):
        if row["total_s"] is not None:
            for kind in ((row["model"], row["steps"], row["variant"]), (row["model"], row["steps"])):
                kinds.setdefault(kind, []).append(row["total_s"])
    total, known = 0.0, False
    for p in planned:
        if p.state in ("owed", "waiting"):
            steps = p.run.steps if p.run.trains else None
            past = kinds.get((p.run.model, steps, p.run.variant)) or kinds.get((p.run.model, steps)) or []
            known = known or bool(past)
            total += median(past) if past else 0.0
    return total if known else None


def told(seconds: float) -> str:
    """A time in words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _with_choice(planned: list[Planned], rows: dict[str, dict[str, Any]]) -> list[Planned]:
    """Beyond the first seed of each family, keep only the learning rate that the first seed chose."""
    families: dict[Any, list[Planned]] = {}
    for p in planned:
        families.setdefault(family_of(p.run), []).append(p)
    kept: dict[str, Planned] = {}
    for members in families.values():
        first = members[0].run.seed
        trial = [p for p in members if p.run.seed == first]
        rest = [p for p in members if p.run.seed != first]
        rates = {p.run.lr for p in members}
        lr = next(iter(rates)) if len(rates) == 1 else None
        if lr is None and all(p.state in ("done", "failed") for p in trial):
            scores = {p.run.lr: {first: rows[p.run_id]["valid_accuracy"]} for p in trial}
            lr = chosen({rate: by_seed for rate, by_seed in scores.items() if by_seed[first] is not None})
        if lr is None:
            rest = [Planned(p.run, p.run_id, "waiting") if p.state == "owed" else p for p in rest]
        kept |= {p.run_id: p for p in [*trial, *(p for p in rest if lr is None or p.run.lr == lr)]}
    return [kept[p.run_id] for p in planned if p.run_id in kept]
