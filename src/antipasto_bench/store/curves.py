"""Held-out loss by step, as a run records it while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

Point = tuple[Annotated[int, Field(ge=1, lt=2**63)], float]  # the step, and nats a completion token after it


def _in_order(points: list[Point]) -> list[Point]:
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(points)):
        raise ValueError("steps do not rise")
    return points


ValidCurve = Annotated[list[Point], AfterValidator(_in_order)]


def best_of(curve: Sequence[Point]) -> Point:
    """The point of the lowest loss, the first of several; it chooses nothing: what is scored is the last step."""
    return min(curve, key=lambda point: point[1])


def curve_in_words(curve: Sequence[Point]) -> str:
    """The best point of a curve and its last, which is what is scored."""
    (best_step, best), (last_step, last) = best_of(curve), curve[-1]
    return f"best {best:.4f} at step {best_step}; last {last:.4f} at step {last_step}, which is what is scored"
