"""The columns of the page's tables with what its drawings need: units, and which direction is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from ..analysis.arms import Arm
from ..analysis.compared_sections import ComparedArm
from ..core.json_types import Json
from ..store.quantities import QUANTITIES, Quantity, quantity
from ..store.record import RunRecord
from .columns import COLUMNS, Cell, Column

FORWARD, BACKWARD = quantity("forward_ms"), quantity("backward_ms")
PLAIN = {"rank": "rank", "lr": "learning rate", "seeds": "seeds"}  # columns of numbers that are no quantity


def _step(row: ComparedArm) -> Cell:
    """Forward and backward together, and the ratio to the base's."""
    arm = row.arm
    own, base = _step_of(arm, own=True), _step_of(arm, own=False)
    shown = base if arm.untuned else own
    if shown is None:
        return Cell("")
    ratio = "" if own is None or base is None or arm.untuned else f" ({own / base:.2f}x)"
    return Cell(f"{FORWARD.text(shown)}{ratio}", shown)


def _step_of(arm: Arm, *, own: bool) -> float | None:
    parts = [arm.mean(entry.field if own else entry.base or "") for entry in (FORWARD, BACKWARD)]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


STEP = Column(
    "step ms",
    "forward and backward of one batch, as measured, and the ratio to the untuned model's in the same run",
    _step,
    "costs",
    lambda row: {"step_ms": _step_of(row.arm, own=not row.arm.untuned)},
    better="lower",
)


def page_columns() -> tuple[Column, ...]:
    """Those of the tables, and the step's time before its parts."""
    place = next(i for i, column in enumerate(COLUMNS) if column.quantity is FORWARD)
    return (*COLUMNS[:place], STEP, *COLUMNS[place:])


def axis_title(column: Column) -> str:
    """What an axis of its values is called, with the unit; empty where they are no numbers to draw."""
    if column.quantity is not None:
        return column.quantity.label
    return "step (forward and backward), ms" if column is STEP else PLAIN.get(column.name, "")


def column_json(column: Column) -> Json:
    """What the page knows of a column."""
    return {
        "name": column.name,
        "meaning": column.meaning,
        "left": column.left,
        "axis": axis_title(column),
        "better": column.better,
        "price": column is STEP or (column.quantity is not None and column.quantity.axis is not None),
    }


def scaled(value: float | str | None, column: Column) -> float | str | None:
    """A cell's number in the unit of its axis."""
    if isinstance(value, str) or value is None:
        return value
    if not isfinite(value):
        return None
    return value if column.quantity is None else value * column.quantity.scale


@dataclass(frozen=True)
class RunColumn:
    """A quantity of single runs."""

    entry: Quantity

    def cell(self, record: RunRecord) -> tuple[str, float | None]:
        """As text, and as a number in the unit of the axis."""
        value = getattr(record, self.entry.field)
        if value is None:
            return "", None
        place = self.entry.run_list
        text = self.entry.text(value, place if place is not None and place.scale is None else None)
        return text, None if isinstance(value, str) else float(value) * self.entry.scale

    def json(self) -> Json:
        """As `column_json`."""
        short = self.entry.run_list.header if self.entry.run_list else self.entry.column and self.entry.column.header
        return {
            "name": short or self.entry.label,
            "meaning": self.entry.label,
            "left": False,
            "axis": self.entry.label,
            "better": self.entry.better,
            "listed": self.entry.run_list is not None,
        }


def run_columns(records: Sequence[RunRecord], quantities: Sequence[Quantity] = QUANTITIES) -> list[RunColumn]:
    """Of each quantity that the page shows of runs and that some run has."""
    shown = [entry for entry in quantities if entry.run_list or entry.run_card or entry.column]
    return [RunColumn(entry) for entry in shown if any(getattr(r, entry.field) is not None for r in records)]
