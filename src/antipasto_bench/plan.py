"""Which of the runs that were asked for are done, failed before, still owed, or waiting for a choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .config import RunConfig
from .paths import Store
from .results import read_table
from .sweep import Sweep, chosen, family_of

State = Literal["done", "failed", "owed", "waiting"]


@dataclass(frozen=True)
class Planned:
    run: RunConfig
    state: State


def plan(sweep: Sweep, store: Store) -> list[Planned]:
    """The state of each run, in the order asked for; those that a choice has ruled out are left out."""
    rows = {row["run_id"]: row for row in read_table(store.table).iter_rows(named=True)}
    states: dict[str | None, State] = {"ok": "done", "failed": "failed", None: "owed"}
    planned = [Planned(run, states[rows.get(run.run_id, {}).get("status")]) for run in sweep.runs]
    return _with_choice(planned, rows) if sweep.choose else planned


def due(planned: list[Planned], retry_failed: bool = False) -> list[Planned]:
    """What is to be made now."""
    return [p for p in planned if p.state == "owed" or (retry_failed and p.state == "failed")]


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
            scores = {p.run.lr: {first: rows[p.run.run_id]["valid_accuracy"]} for p in trial}
            lr = chosen({rate: by_seed for rate, by_seed in scores.items() if by_seed[first] is not None})
        if lr is None:
            rest = [Planned(p.run, "waiting") if p.state == "owed" else p for p in rest]
        kept |= {p.run.run_id: p for p in [*trial, *(p for p in rest if lr is None or p.run.lr == lr)]}
    return [kept[p.run.run_id] for p in planned if p.run.run_id in kept]
