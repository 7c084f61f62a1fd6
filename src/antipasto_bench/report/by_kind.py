"""The page's table of accuracy by kind of question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..analysis.arms import Arm
from ..analysis.kinds import accuracy_by_kind
from ..store.quantities import quantity

MOST_KINDS = 40  # that have a column: those with the most questions
LONGEST_NAME = 40  # characters of a kind's name that are shown

_ACCURACY = quantity("test_accuracy")


@dataclass(frozen=True)
class KindColumn:
    name: str
    questions: int


@dataclass(frozen=True)
class KindCell:
    mean: str  # over the arm's runs, per cent
    runs: str  # of each run, where there are several


@dataclass(frozen=True)
class KindRow:
    name: str  # of the arm
    cells: list[KindCell]


@dataclass(frozen=True)
class KindTable:
    columns: list[KindColumn]
    rows: list[KindRow]
    more: int  # kinds without a column


def kind_table(arms: Sequence[Arm]) -> KindTable | None:
    """A row an arm, a column a kind; None where the questions have no kinds."""
    table = accuracy_by_kind(arms)
    if table is None:
        return None
    columns = [KindColumn(_short(kind), count) for kind, count in zip(table.kinds, table.counts, strict=True)]
    rows = []
    for arm in table.arms:
        shares = list(zip(arm.means, arm.runs.T, strict=True))[:MOST_KINDS]
        rows.append(KindRow(arm.name, [_cell(float(mean), [float(run) for run in runs]) for mean, runs in shares]))
    return KindTable(columns[:MOST_KINDS], rows, len(columns[MOST_KINDS:]))


def _cell(mean: float, runs: Sequence[float]) -> KindCell:
    return KindCell(_ACCURACY.text(mean), " ".join(f"{100 * run:.0f}" for run in runs) if len(runs) > 1 else "")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
