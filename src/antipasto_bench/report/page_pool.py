"""Texts and curves that many runs share, each in the page once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ..core.text import printable
from ..store.curves import Point

LOSS_DIGITS = 4


class Pool:
    """Gives a number to each text, and to each list of steps."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}
        self._steps: dict[tuple[int, ...], int] = {}

    @property
    def texts(self) -> list[str]:
        return list(self._texts)

    @property
    def steps(self) -> list[tuple[int, ...]]:
        return list(self._steps)

    def text(self, value: object) -> int:
        """The number of a text, its control characters written out; what is no text is as JSON has it."""
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
        return self._texts.setdefault(printable(text), len(self._texts))

    def curve(self, points: Sequence[Point]) -> list[object] | None:
        """The number of its steps, and the losses; None for a curve without points."""
        if not points:
            return None
        steps = tuple(step for step, _ in points)
        losses = [round(loss, LOSS_DIGITS) for _, loss in points]
        return [self._steps.setdefault(steps, len(self._steps)), losses]


def mean_curve(curves: Iterable[Sequence[Point]]) -> list[Point]:
    """The mean loss over seeds at the steps that all of them have."""
    losses = [dict(curve) for curve in curves if curve]
    if not losses:
        return []
    steps = sorted(set.intersection(*map(set, losses)))
    return [(step, sum(loss[step] for loss in losses) / len(losses)) for step in steps]
