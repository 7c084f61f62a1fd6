"""What the data can tell apart: every pair of a family of arms, corrected for how many pairs there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import numpy as np

from .arms import Arm
from .stats import Comparison, SeedNoise, compare, detectable, holm, letters, seed_noise

LEVEL = 0.05  # of the whole family of pairs
POWER = 0.8

Pair = tuple[int, int]


@dataclass(frozen=True)
class Verdict:
    """How some arms compare, in their order."""

    groups: list[str]  # letters: two arms share one if and only if they are not separated
    pairs: dict[Pair, Comparison]  # (i, j) with i < j: arm i less arm j
    p: dict[Pair, float]  # corrected for how many pairs there are
    noise: SeedNoise
    smallest: float | None  # the least true difference that would be found; None where that cannot be told

    def separated(self, i: int, j: int) -> bool:
        return self.p.get((min(i, j), max(i, j)), 1.0) < LEVEL

    def apart(self) -> list[Pair]:
        return [pair for pair, value in self.p.items() if value < LEVEL]

    @property
    def leading(self) -> set[int]:
        """The first arm and those not separated from it, where any is; nobody leads a table that separates nothing."""
        tied = {i for i in range(len(self.groups)) if not self.separated(0, i)}
        return tied if len(tied) < len(self.groups) else set()


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
    found = {(i, j): compare(arms[i].scores, arms[j].scores, noise) for i, j in asked}
    p = dict(zip(found, holm([pair.p for pair in found.values()]).tolist(), strict=True)) if found else {}
    matrix = np.zeros((len(arms), len(arms)), dtype=bool)
    for (i, j), value in p.items():
        matrix[i, j] = matrix[j, i] = value < LEVEL
    return Verdict(letters(matrix), found, p, noise, _smallest(arms, found, noise))


def _smallest(arms: Sequence[Arm], found: dict[Pair, Comparison], noise: SeedNoise) -> float | None:
    compared = {i for pair in found for i in pair}
    seeds = min((len(arms[i].rows) for i in compared if arms[i].trained_on_seeds), default=1)
    if not found or (seeds > 1 and not noise.df):
        return None
    spread = median(pair.spread for pair in found.values())
    questions = arms[0].scores.shape[1]
    if not spread >= 0:  # one question: nan
        return None
    return detectable(questions, spread, seeds, noise if seeds > 1 else None, LEVEL / len(found), POWER)


def points(value: float) -> str:
    """A smallest detectable difference, in words."""
    return f"{100 * value:.1f} points" if value <= 1 else "none at all"
