"""Which of the runs that were asked for are done, failed before, or still owed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .config import RunConfig
from .paths import Store
from .results import read_table


@dataclass(frozen=True)
class Planned:
    run: RunConfig
    state: Literal["done", "failed", "owed"]


def plan(runs: list[RunConfig], store: Store) -> list[Planned]:
    """The state of each run, in the order asked for."""
    table = read_table(store.table)
    status = dict(zip(table["run_id"], table["status"], strict=True))
    states: dict[str | None, Literal["done", "failed", "owed"]] = {"ok": "done", "failed": "failed", None: "owed"}
    return [Planned(run, states[status.get(run.run_id)]) for run in runs]
