"""Why a cell of the page is blank: what it shows is a dash, which says so. Files keep such cells empty."""

from __future__ import annotations

from ..analysis.compared_sections import ComparedArm
from .cells import Column

NOT_MEASURED = "not measured"
TRAINS_NOTHING = "trains nothing"
_OF_SEEDS = ("95 %", "rank among", "verdict", "verdict by loss", "vs reference", "loss vs reference")
_OF_TRAINING = (
    *("lr", "seeds", "params", "forgets", "adapter kB", "+MACs/token", "params/token", "rank"),
    *("kept MB", "peak MB", "init s", "cached", "merge ms", "train s", "train tok/s"),
)


def why_blank(column: Column, row: ComparedArm) -> str:
    """Why a blank cell of a row is blank, in a few words."""
    if column.name in _OF_TRAINING and row.arm.first.lr is None:
        return TRAINS_NOTHING
    if column.name == "rank":
        return "has no rank"
    if column.name == "+MACs/token":
        return "adds none"
    if column.name.endswith("vs reference") and row.is_reference:
        return "is the reference"
    if column.name in _OF_SEEDS and (row.arm.untuned or not row.arm.conclusive) and not row.section.verdicts:
        return "no verdicts here" if row.arm.untuned else "one seed"
    return NOT_MEASURED
