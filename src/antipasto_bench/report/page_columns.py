"""The columns of the page's tables with what its drawings need: units, and which direction is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from ..analysis.compared_sections import ComparedArm
from ..analysis.conditions import one_machine
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
OF_MACHINES = (
    "train s",
    "train tok/s",
    "init s",
    "cached",
    "merge ms",
    "peak MB",
)  # no ratios: machines differ in them
ON_THE_PAGE = {"verdict": "verdict by accuracy"}  # headings of the page that say more than a column's name
STEP_COLUMN = timed_column(STEP, None)


def page_columns() -> tuple[Column, ...]:
    """Those of the tables, and the step's time before its parts."""
    place = next(i for i, column in enumerate(COLUMNS) if column.timed is FORWARD)
    return (*COLUMNS[:place], STEP_COLUMN, *COLUMNS[place:])


def heading_of(column: Column) -> str:
    """What stands above a column of the page; in addresses and files it has its name."""
    return ON_THE_PAGE.get(column.name, column.name)


def axis_title(column: Column) -> str:
    """What an axis of its values is called, with the unit; empty where they are no numbers to draw."""
    if column.timed is not None:
        return column.timed.axis
    return PLAIN.get(column.name, "") if column.quantity is None else column.quantity.label


def is_price(column: Column) -> bool:
    """Whether readers can pick it as the price of an arm."""
    return column.timed is STEP or (column.quantity is not None and column.quantity.axis is not None)


def meaning_of(column: Column, rows: Sequence[ComparedArm]) -> str:
    """For people, with what stands in brackets in some rows of a table, and what 1x is there."""
    said = [column.meaning]
    if column.brackets and any("(" in column.cell(row).text for row in rows):
        said.append(f"in brackets {column.brackets}")
    if column.timed is not None and (one := column.timed.one_x([row.arm for row in rows])):
        said.append(f"1x is {one}")
    if is_unlike(column, rows):
        said.append("measured on different machines, so rows do not compare")
    return "; ".join(said)


def is_unlike(column: Column, rows: Sequence[ComparedArm]) -> bool:
    """Whether a column holds times or memory of unlike machines, so that its numbers do not compare rows."""
    return column.name in OF_MACHINES and not one_machine([row.arm for row in rows])


def column_json(column: Column, rows: Sequence[ComparedArm]) -> Json:
    """What the page knows of a column.

    Args:
        rows: of its table.
    """
    arms = [row.arm for row in rows]
    return {
        "name": column.name,
        "heading": heading_of(column),
        "meaning": meaning_of(column, rows),
        "left": column.left,
        "axis": axis_title(column),
        "better": column.better,
        "price": is_price(column),
        "unlike": is_unlike(column, rows),
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
            "seconds": self.entry.unit == "s" and self.entry.run_card is not None,
        }


def run_columns(records: Sequence[RunRecord], quantities: Sequence[Quantity] = QUANTITIES) -> list[RunColumn]:
    """Of each quantity that the page shows of runs and that some run has."""
    shown = [entry for entry in quantities if entry.run_list or entry.run_card or entry.column]
    return [RunColumn(entry) for entry in shown if any(getattr(r, entry.field) is not None for r in records)]
