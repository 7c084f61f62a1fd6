"""Columns of ratios to the untuned model."""

from __future__ import annotations

from ..analysis.compared_sections import ComparedArm
from ..store.quantities import Quantity
from .cells import Cell, Column
from .plain_numbers import Numbers
from .timed import Timed


def timed_column(timed: Timed, entry: Quantity | None) -> Column:
    """A column of ratios to the untuned model; its numbers are both values of a quantity, too, if it is one's."""

    def cell(row: ComparedArm) -> Cell:
        ratio = timed.ratio_of(row.arm)
        return Cell(timed.text(ratio), ratio)

    def numbers(row: ComparedArm) -> Numbers:
        if entry is None or entry.base is None:
            return {}
        own = row.arm.mean(entry.own(row.arm.untuned))
        return {entry.field: own, entry.base: row.arm.mean(entry.base), f"{entry.field}_ratio": timed.ratio_of(row.arm)}

    better = timed.of[0].better
    return Column(timed.header, timed.meaning, cell, "costs", numbers, quantity=entry, better=better, timed=timed)
