"""The columns of the page's tables with what its drawings need: units, and which direction is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from ..analysis.arms import Arm
from ..core.json_types import Json
from ..store.quantities import QUANTITIES, Quantity
from ..store.record import RunRecord
from .cells import Column
from .columns import COLUMNS
from .timed import FORWARD, STEP, TIMED, Timed
from .timed_columns import timed_column

PLAIN = {  # columns of numbers that are no quantity
    "rank": "rank",
    "lr": "learning rate",
    "vs reference": "difference to the reference, points",
    "loss vs reference": "difference to the reference's loss, nats a token",
    "seeds": "seeds",
}
STEP_COLUMN = timed_column(STEP, None)


def page_columns() -> tuple[Column, ...]:
    """Those of the tables, and the step's time before its parts."""
    place = next(i for i, column in enumerate(COLUMNS) if column.timed is FORWARD)
    return (*COLUMNS[:place], STEP_COLUMN, *COLUMNS[place:])


def axis_title(column: Column) -> str:
    """What an axis of its values is called, with the unit; empty where they are no numbers to draw."""
    if column.timed is not None:
        return column.timed.axis
    return PLAIN.get(column.name, "") if column.quantity is None else column.quantity.label


def is_price(column: Column) -> bool:
    """Whether readers can pick it as the price of an arm."""
    return column.timed is STEP or (column.quantity is not None and column.quantity.axis is not None)


def meaning_of(column: Column, arms: Sequence[Arm]) -> str:
    """For people, with what 1x is in the table of some arms."""
    one = "" if column.timed is None else column.timed.one_x(arms)
    return f"{column.meaning}; 1x is {one}" if one else column.meaning


def column_json(column: Column, arms: Sequence[Arm]) -> Json:
    """What the page knows of a column.

    Args:
        arms: of its table.
    """
    return {
        "name": column.name,
        "meaning": meaning_of(column, arms),
        "left": column.left,
        "axis": axis_title(column),
        "better": column.better,
        "price": is_price(column),
        "one": None if column.timed is None else column.timed.one_x(arms),
        "unit": None if column.timed is None else column.timed.unit,
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

    @property
    def timed(self) -> Timed | None:
        """What it shows in place of the quantity."""
        return TIMED.get(self.entry.field)

    def cell(self, record: RunRecord) -> tuple[str, float | None]:
        """As text, and as a number in the unit of the axis."""
        if self.timed is not None:
            return self.timed.run_text(record), self.timed.ratio(record)
        value = getattr(record, self.entry.field)
        if value is None:
            return "", None
        place = self.entry.run_list
        text = self.entry.text(value, place if place is not None and place.scale is None else None)
        return text, None if isinstance(value, str) else float(value) * self.entry.scale

    def json(self) -> Json:
        """As `column_json`."""
        short = self.entry.run_list.header if self.entry.run_list else self.entry.column and self.entry.column.header
        label = self.entry.label if self.timed is None else self.timed.axis
        return {
            "name": (short or label) if self.timed is None else self.timed.header,
            "meaning": label,
            "left": False,
            "axis": label,
            "better": self.entry.better,
            "listed": self.entry.run_list is not None,
        }


def run_columns(records: Sequence[RunRecord], quantities: Sequence[Quantity] = QUANTITIES) -> list[RunColumn]:
    """Of each quantity that the page shows of runs and that some run has."""
    shown = [entry for entry in quantities if entry.run_list or entry.run_card or entry.column]
    return [RunColumn(entry) for entry in shown if any(getattr(r, entry.field) is not None for r in records)]
