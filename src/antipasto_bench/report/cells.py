"""What a column of the comparison table is, and a cell of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..analysis.compared_sections import ComparedArm
from ..store.quantities import Quantity
from .plain_numbers import NumbersOf
from .timed import Timed


@dataclass(frozen=True)
class Cell:
    text: str
    sort: float | str | None = None  # None where there is nothing to sort by
    best: bool = False
    ends: tuple[float, float] | None = None  # of the interval that it shows, in the unit that it shows


CellOf = Callable[[ComparedArm], Cell]


@dataclass(frozen=True)
class Column:
    name: str
    meaning: str  # for people
    cell: CellOf
    table: Literal["scores", "costs", "both"]
    numbers: NumbersOf  # what the cell is made from, for programs
    left: bool = False
    quantity: Quantity | None = None  # whose mean it shows
    timed: Timed | None = None  # whose ratio to the untuned model it shows, in place of the mean
    better: Literal["lower", "higher"] | None = None
    brackets: str = ""  # what stands in brackets in cells that have them
