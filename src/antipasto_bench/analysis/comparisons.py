"""Which arms the data tell apart: many pairs compared at once, corrected for how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import median, median_low

import numpy as np

from .arms import Arm, different_questions
from .losses import compare_losses, loss_noise, loss_table
from .multiplicity import holm, letters
from .power import detectable
from .stats import Comparison, Summary, compare, seed_noise, summarise
from .variance import Array, SeedNoise

LEVEL = 0.05  # of the whole family of pairs
POWER = 0.8

Pair = tuple[int, int]


@dataclass(frozen=True)
class Comparisons:
    """How some arms compare, in their order."""

    arm_count: int
    pairs: dict[Pair, Comparison]  # (i, j) with i < j: arm i less arm j
    p: dict[Pair, float]  # corrected for how many pairs there are
    noise: SeedNoise
    smallest: float | None  # the smallest true difference that would be detected; None where that cannot be known

    @cached_property
    def groups(self) -> list[str]:
        """Letters: two arms share one if and only if they are not separated. Only where all pairs were compared."""
        matrix = np.zeros((self.arm_count, self.arm_count), dtype=bool)
        for i, j in self.separated_pairs():
            matrix[i, j] = matrix[j, i] = True
        return letters(matrix)

    def separated(self, i: int, j: int) -> bool:
        return self.p.get((min(i, j), max(i, j)), 1.0) < LEVEL

    def separated_pairs(self) -> list[Pair]:
        return [pair for pair, value in self.p.items() if value < LEVEL]

    @property
    def leading(self) -> set[int]:
        """The first arm and those not separated from it; none where no arm is separated from the first."""
        tied = {i for i in range(self.arm_count) if not self.separated(0, i)}
        return tied if len(tied) < self.arm_count else set()


def comparable(arms: Sequence[Arm]) -> bool:
    """Whether every question was right or wrong, and was put to all of the arms."""
    return all(arm.binary for arm in arms) and len({arm.questions for arm in arms}) == 1


def unpaired(arms: Sequence[Arm]) -> str | None:
    """Why arms cannot be paired question by question, naming two of their runs; None where they can."""
    pairs = ((arms[0].first.run_id, arms[0].questions, arm.first.run_id, arm.questions) for arm in arms)
    return next((problem for pair in pairs if (problem := different_questions(*pair)) is not None), None)


def compare_all(
    arms: Sequence[Arm], pairs: Sequence[Pair] | None = None, noise: SeedNoise | None = None
) -> Comparisons:
    """Arms compared on the questions that they share.

    Args:
        arms: the best first: letters are given out in their order.
        pairs: of indices of arms, i < j, to compare; all pairs where None.
        noise: how much runs vary with their seeds, where it is known from more arms than these.

    Raises:
        ValueError: a score is neither right nor wrong.
    """
    noise = noise or seed_noise([arm.scores for arm in arms])
    comparisons = {
        (i, j): compare(arms[i].scores, arms[j].scores, noise, (arms[i].trained_on_seeds, arms[j].trained_on_seeds))
        for i, j in (combinations(range(len(arms)), 2) if pairs is None else pairs)
    }
    corrected = holm([pair.p for pair in comparisons.values()]).tolist() if comparisons else []
    p = dict(zip(comparisons, corrected, strict=True))
    return Comparisons(len(arms), comparisons, p, noise, _smallest(arms, comparisons, noise))


@dataclass(frozen=True)
class LossComparisons:
    """How the losses of some arms compare, in their order: each pair on the same tokens."""

    tables: list[Array]  # of each arm, see `losses.loss_table`
    pairs: dict[Pair, Comparison]  # (i, j) with i < j: arm i less arm j, nats a token
    p: dict[Pair, float]  # corrected for how many pairs there are
    noise: SeedNoise


def compare_all_losses(arms: Sequence[Arm]) -> LossComparisons | None:
    """Every pair of arms compared by loss; None where an arm has no losses, or of other tokens than the first."""
    losses = [arm.losses for arm in arms if arm.losses is not None]
    if len(losses) < len(arms) or not all(own.paired_with(losses[0]) for own in losses) or len(losses[0].tokens) < 2:
        return None
    tables = [loss_table(own.nats, own.tokens) for own in losses]
    noise = loss_noise(tables)
    pairs = {
        (i, j): compare_losses(tables[i], tables[j], noise, (arms[i].trained_on_seeds, arms[j].trained_on_seeds))
        for i, j in combinations(range(len(arms)), 2)
    }
    corrected = holm([pair.p for pair in pairs.values()]).tolist() if pairs else []
    return LossComparisons(tables, pairs, dict(zip(pairs, corrected, strict=True)), noise)


def _smallest(arms: Sequence[Arm], comparisons: dict[Pair, Comparison], noise: SeedNoise) -> float | None:
    """The smallest detectable difference between two arms of as many seeds as the median arm has."""
    compared = sorted({i for pair in comparisons for i in pair})
    seeds = median_low([len(arms[i].records) for i in compared if arms[i].trained_on_seeds] or [1])
    if not comparisons or (seeds > 1 and not noise.df):
        return None
    spread = median(pair.spread for pair in comparisons.values())
    questions = arms[0].scores.shape[1]
    if not spread >= 0:  # one question: nan
        return None
    return detectable(questions, spread, seeds, noise if noise.df else None, LEVEL / len(comparisons), POWER)


def points(value: float) -> str:
    """A smallest detectable difference, in words."""
    return f"{100 * value:.1f} points" if value <= 1 else "none at all"


@dataclass(frozen=True)
class ComparedArm:
    """An arm with all that its cells in a table are made from."""

    arm: Arm
    summary: Summary | None  # None where the arms of the table are not compared; so below
    index: int  # in the table's arms
    arms: list[Arm]  # of the table
    comparisons: Comparisons | None
    losses: LossComparisons | None = None


def compared_arms(
    arms: list[Arm], comparisons: Comparisons | None, losses: LossComparisons | None = None
) -> list[ComparedArm]:
    return [
        ComparedArm(
            arm, None if comparisons is None else summary_of(arm, comparisons), index, arms, comparisons, losses
        )
        for index, arm in enumerate(arms)
    ]


def summary_of(arm: Arm, comparisons: Comparisons) -> Summary:
    """An arm's accuracy with its interval, by the seed noise of all arms that it was compared with."""
    return summarise(arm.scores, comparisons.noise if arm.trained_on_seeds else None)
