"""Arms: runs that differ in their seeds alone, with the questions that each of them got right.

A section holds the arms of one model and protocol; where arms differ in learning rate alone, the one that validation
chose, and beside it what was tried.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..core.errors import UserError
from ..spec.config import BASE
from ..spec.selection import chosen, family
from ..store.folders import Store
from ..store.items import headline_scores, items_of
from ..store.table import NESTED, read_table


@dataclass(frozen=True)
class Arm:
    """The seeds of one setting."""

    label: str  # the variant, with those of its settings that tell it from its neighbours
    rows: list[dict[str, Any]]  # of the table, in the order of their seeds
    scores: NDArray[np.float64]  # (seeds, questions): the headline score of each test question
    valid: NDArray[np.float64] | None  # (seeds, validation questions); None where there were none

    @property
    def name(self) -> str:
        """The label, with the rank where there is one."""
        return _name(self.label, self.rows[0])

    @property
    def lr(self) -> float | None:
        return self.rows[0]["lr"]

    @property
    def variant(self) -> str:
        return self.rows[0]["variant"]

    @property
    def trained_on_seeds(self) -> bool:
        """Whether another seed would have given another model."""
        return self.rows[0]["seed"] is not None

    @property
    def binary(self) -> bool:
        """Whether each question is right or wrong, as what compares arms expects."""
        return bool(np.isin(self.scores, (0.0, 1.0)).all())

    def mean(self, column: str) -> float | None:
        """Over the seeds that have a value; None where none has."""
        values = [row[column] for row in self.rows if row[column] is not None]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True)
class Section:
    """What one table shows."""

    arms: list[Arm]  # the best first
    rates: list[list[Arm]]  # of each family that was tried at several learning rates: all of its arms, by rate
    rows: list[dict[str, Any]]  # of every run that was trained or scored so, chosen or not
    tried: list[str]  # a line for each arm whose learning rate was chosen
    protocol: str


def sections(store: Store) -> list[Section]:
    """One for each model and protocol that runs were recorded under. The order of rows in the file does not matter.

    Raises:
        UserError: no run has finished, or the questions of one are missing or not those its row was made from.
    """
    rows = finished(store)
    trained = [row for row in rows if row["variant"] != BASE]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    names = {row["protocol"]: row["model"] for row in sorted(rows, key=lambda row: row["run_id"])}
    for row in trained:
        groups.setdefault((names[row["protocol"]], row["protocol"]), []).append(row)
    bases = {row["scoring"]: row for row in rows if row["variant"] == BASE}
    for scoring, row in bases.items():
        if not any(scoring == other["scoring"] for other in trained):
            groups[(row["model"], row["protocol"])] = []  # a base that nothing was trained on yet
    found = []
    for (_, protocol), members in sorted(groups.items()):
        scorings = {row["scoring"] for row in members}
        base = [row for row in bases.values() if row["scoring"] in scorings or row["protocol"] == protocol]
        found.append(_section([*base, *members], protocol, store))
    return found


def finished(store: Store) -> list[dict[str, Any]]:
    """Every run with a result, its nested columns parsed.

    Raises:
        UserError: there is none.
    """
    table = read_table(store.table)
    done = table.filter(pl.col("status") == "ok")
    if done.is_empty():
        failed = f" ({len(table)} failed; antipasto-bench list says why)" if len(table) else ""
        raise UserError(f"{store.table} holds no finished run yet{failed}; make one with: antipasto-bench demo")
    rows = [row | {name: json.loads(row[name]) for name in NESTED} for row in done.to_dicts()]
    return sorted(rows, key=lambda row: row["run_id"])  # whatever order the file has them in


def _section(rows: list[dict[str, Any]], protocol: str, store: Store) -> Section:
    shown, tried = _chosen_rates(rows)
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for row in shown:
        by_arm.setdefault(row["arm"], []).append(row)
    arms = [arm_of(members, rows, store) for members in by_arm.values()]
    alike = Counter(arm.name for arm in arms)
    arms = [
        replace(arm, label=f"{arm.label} lr={arm.lr:g}") if alike[arm.name] > 1 and arm.lr else arm for arm in arms
    ]  # several rates, and no validation to choose one
    arms.sort(key=lambda arm: (-arm.scores.mean(), arm.label, *map(str, arm.rows[0]["config"]["adapter"].values())))
    return Section(arms, _rates(rows, arms, store), rows, tried, protocol)


def _rates(rows: list[dict[str, Any]], shown: list[Arm], store: Store) -> list[list[Arm]]:
    known = {arm.rows[0]["arm"]: arm for arm in shown}
    families: dict[Any, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        by_arm = families.setdefault(family(row["protocol"], row["config"]), {})
        by_arm.setdefault(row["arm"], []).append(row)
    found = [
        sorted(
            (known.get(name) or arm_of(members, rows, store) for name, members in by_arm.items()),
            key=lambda arm: arm.lr or 0,
        )
        for by_arm in families.values()
        if len(by_arm) > 1
    ]
    return sorted(found, key=lambda arms: (arms[0].label, _rank_key(arms[0])))


def _rank_key(arm: Arm) -> tuple[int, str]:
    return arm.rows[0]["rank"] or 0, arm.rows[0]["run_id"]


def arm_of(members: list[dict[str, Any]], peers: list[dict[str, Any]], store: Store) -> Arm:
    """The arm that some rows make; its label tells it from the peers.

    Raises:
        UserError: the questions of a run are missing or not those its row was made from, or seeds differ in questions.
    """
    members = sorted(members, key=lambda row: row["seed"] or 0)
    test = [headline_scores(items_of(row, store, "test")) for row in members]
    valid = [headline_scores(items) for row in members if not (items := items_of(row, store, "valid")).is_empty()]
    alike = len(valid) == len(members) and len({len(scores) for scores in valid}) == 1
    if len({len(scores) for scores in test}) > 1:
        raise UserError(f"the runs of {_label(members[0], peers)} were scored on different numbers of questions")
    return Arm(_label(members[0], peers), members, np.stack(test), np.stack(valid) if alike else None)


def _chosen_rates(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows at each family's chosen learning rate, and a line for each on the rates that were tried."""
    families: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(family(row["protocol"], row["config"]), []).append(row)
    shown: list[dict[str, Any]] = []
    lines = []
    for members in families.values():
        scores: dict[float, dict[int, float | None]] = {}
        for row in members:
            scores.setdefault(row["lr"], {})[row["seed"]] = row["valid_accuracy"]
        best = chosen(scores) if len(scores) > 1 else None
        shown += [row for row in members if best is None or row["lr"] == best]
        if best is not None:
            shared = sorted(set.intersection(*(set(by_seed) for by_seed in scores.values())))
            cells = []
            for lr, by_seed in sorted(scores.items()):
                mean = sum(100 * (by_seed[seed] or 0) for seed in shared) / len(shared)
                cells.append(f"**{lr:g}: {mean:.1f}**" if lr == best else f"{lr:g}: {mean:.1f}")
            seeds = f"seed{'s' if len(shared) > 1 else ''} {', '.join(map(str, shared))}"
            lines.append(f"- {_name(_label(members[0], rows), members[0])}, {seeds}: {', '.join(cells)}")
    return shown, sorted(lines)


def _name(label: str, row: dict[str, Any]) -> str:
    return label if row["rank"] is None else f"{label} r={row['rank']}"


def _label(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    adapter = row["config"]["adapter"]
    peers = [r["config"]["adapter"] for r in rows if r["variant"] == row["variant"]]
    shown = [
        key
        for key, value in adapter.items()
        if key != "r" and (key == "rotate_basis" or any(peer.get(key) != value for peer in peers))
    ]
    words = [f"{key}={compact(adapter[key])}" for key in sorted(shown)]
    shown_to = {r["config"]["data"]["calibration"] for r in rows if r["variant"] == row["variant"]}
    calibration = calibration_of(row) if len(shown_to) > 1 else None
    if calibration is not None:
        words.append(f"calibration={calibration}")
    return " ".join([row["variant"], *words])


def calibration_of(row: dict[str, Any]) -> int | None:
    """How many examples a variant that looks at data was shown; None for the others."""
    return None if row["variant"] == BASE else family("", row["config"])[2]


def compact(value: Any) -> str:
    """A setting's value in few characters."""
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
