"""What the data can tell apart: every pair of a family of arms, corrected for how many pairs there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import median, median_low
from typing import Any

import numpy as np

from .arms import Arm
from .stats import Comparison, SeedNoise, Summary, compare, detectable, holm, letters, seed_noise, summarise

LEVEL = 0.05  # of the whole family of pairs
POWER = 0.8

Pair = tuple[int, int]


@dataclass(frozen=True)
class Verdict:
    """How some arms compare, in their order."""

    count: int  # of arms
    pairs: dict[Pair, Comparison]  # (i, j) with i < j: arm i less arm j
    p: dict[Pair, float]  # corrected for how many pairs there are
    noise: SeedNoise
    smallest: float | None  # the least true difference that would be found; None where that cannot be told

    @cached_property
    def groups(self) -> list[str]:
        """Letters: two arms share one if and only if they are not separated. Made where all pairs were compared."""
        matrix = np.zeros((self.count, self.count), dtype=bool)
        for i, j in self.apart():
            matrix[i, j] = matrix[j, i] = True
        return letters(matrix)

    def separated(self, i: int, j: int) -> bool:
        return self.p.get((min(i, j), max(i, j)), 1.0) < LEVEL

    def apart(self) -> list[Pair]:
        return [pair for pair, value in self.p.items() if value < LEVEL]

    @property
    def leading(self) -> set[int]:
        """The first arm and those not separated from it, where any is; nobody leads a table that separates nothing."""
        tied = {i for i in range(self.count) if not self.separated(0, i)}
        return tied if len(tied) < self.count else set()


def comparable(arms: Sequence[Arm]) -> bool:
    """Whether every question was right or wrong, and was put to all of the arms."""
    return all(arm.binary for arm in arms) and len({arm.scores.shape[1] for arm in arms}) == 1


def verdict(arms: Sequence[Arm], pairs: Sequence[Pair] | None = None, noise: SeedNoise | None = None) -> Verdict:
    """Arms compared on the questions that they share.

    Args:
        arms: the best first: letters are given out in their order.
        pairs: the comparisons that are asked for; all where None.
        noise: what seeds do, where more arms than these tell of it.

    Raises:
        ValueError: a score is neither right nor wrong.
    """
    noise = noise or seed_noise([arm.scores for arm in arms])
    asked = list(combinations(range(len(arms)), 2)) if pairs is None else list(pairs)
    found = {
        (i, j): compare(arms[i].scores, arms[j].scores, noise, (arms[i].trained_on_seeds, arms[j].trained_on_seeds))
        for i, j in asked
    }
    p = dict(zip(found, holm([pair.p for pair in found.values()]).tolist(), strict=True)) if found else {}
    return Verdict(len(arms), found, p, noise, _smallest(arms, found, noise))


def _smallest(arms: Sequence[Arm], found: dict[Pair, Comparison], noise: SeedNoise) -> float | None:
    """For two arms of as many seeds as most have."""
    compared = sorted({i for pair in found for i in pair})
    seeds = median_low([len(arms[i].rows) for i in compared if arms[i].trained_on_seeds] or [1])
    if not found or (seeds > 1 and not noise.df):
        return None
    spread = median(pair.spread for pair in found.values())
    questions = arms[0].scores.shape[1]
    if not spread >= 0:  # one question: nan
        return None
    return detectable(questions, spread, seeds, noise if noise.df else None, LEVEL / len(found), POWER)


def points(value: float) -> str:
    """A smallest detectable difference, in words."""
    return f"{100 * value:.1f} points" if value <= 1 else "none at all"


@dataclass(frozen=True)
class Row:
    """An arm with all that its cells are made from."""

    arm: Arm
    summary: Summary | None
    index: int
    arms: list[Arm]
    found: Verdict | None

    def mean(self, name: str) -> float | None:
        return self.arm.mean(name)

    @property
    def first(self) -> dict[str, Any]:
        return self.arm.rows[0]


def rows_of(arms: list[Arm], found: Verdict | None) -> list[Row]:
    return [
        Row(arm, None if found is None else summary_of(arm, found), index, arms, found)
        for index, arm in enumerate(arms)
    ]


def summary_of(arm: Arm, found: Verdict) -> Summary:
    return summarise(arm.scores, found.noise if arm.trained_on_seeds else None)
