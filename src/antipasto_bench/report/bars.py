"""Bars of the first table: an arm's accuracy with its interval, on the scale of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

from ..analysis.compared_sections import ComparedArm, ComparedSection
from .columns import ACCURACY

STEPS = ((30, 10), (10, 5), (0, 1))  # per cent: of a range beyond the first, ends are multiples of the second


@dataclass(frozen=True)
class Scale:
    """Per cent at both ends of every bar of a table, and where the reference stands."""

    low: float
    high: float
    reference: float | None  # its place, from 0 to 100; None where there is no reference

    def place(self, value: float) -> float:
        """From 0 to 100, of a value in per cent; values beyond an end stand there."""
        return round(min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low))), 2)


@dataclass(frozen=True)
class Bar:
    """Places from 0 to 100."""

    value: float
    low: float
    high: float
    text: str  # the accuracy
    interval: str


def scale_of(section: ComparedSection, rows: Sequence[ComparedArm]) -> Scale | None:
    """The scale of a table's bars, by its trained arms; None where nothing is compared."""
    ends = [end for row in rows if not row.arm.untuned for end in _ends(row)]
    ends = ends or [end for row in rows for end in _ends(row)]
    if section.accuracy is None or not ends:
        return None
    step = next((step for beyond, step in STEPS if max(ends) - min(ends) > beyond), STEPS[0][1])
    low, high = step * floor(min(ends) / step), step * ceil(max(ends) / step)
    scale = Scale(low, high if high > low else low + step, None)
    if section.reference is None:
        return scale
    mean = 100 * float(section.arms[section.reference].arm.scores.mean())
    return Scale(scale.low, scale.high, scale.place(mean))


def bar_of(row: ComparedArm, scale: Scale | None) -> Bar | None:
    """An arm's bar; None where its table has no scale."""
    if scale is None:
        return None
    mean, (low, high) = float(row.arm.scores.mean()), _ends(row)
    known = row.summary is not None and row.arm.conclusive
    return Bar(
        scale.place(100 * mean),
        scale.place(low),
        scale.place(high),
        ACCURACY.text(mean),
        f"{low:.0f} to {high:.0f}" if known else "one seed",
    )


def _ends(row: ComparedArm) -> tuple[float, float]:
    """Per cent: the interval, or the accuracy itself where it has none."""
    mean = 100 * float(row.arm.scores.mean())
    if row.summary is None or not row.arm.conclusive:
        return mean, mean
    return 100 * row.summary.low, 100 * row.summary.high
