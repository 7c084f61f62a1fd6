"""Rows of arms of which every run diverged."""

from __future__ import annotations

from ..analysis.choosing_notes import DivergedArm
from .cells import Cell, Column
from .columns import ACCURACY, rank_of

AFTER_ALL_VERDICTS = 99  # in the order of verdicts
EVERY_RUN_DIVERGED = "every run diverged"


def diverged_cell(column: Column, arm: DivergedArm) -> Cell:
    """What a column shows of an arm that has no result: nothing is right, and no statistics are made of that."""
    first, runs = arm.records[0], len(arm.records)
    cells = {
        "variant": Cell(arm.label, arm.label),
        "rank": Cell(rank_of(first), first.rank),
        "lr": Cell("" if first.lr is None else f"{first.lr:g}", first.lr),
        "test %": Cell(ACCURACY.text(0.0), 0.0),
        "verdict": Cell(EVERY_RUN_DIVERGED, AFTER_ALL_VERDICTS),
        "seeds": Cell(f"{runs} ({runs} diverged)", runs),
    }
    return cells.get(column.name, Cell(""))
