"""What a published table of single runs can tell: accuracies of n questions, one seed a row, without the answers.

Two things are not published, and each can only be bounded.

    Which questions each row got right. All rows answer the same n questions, so that their answers go together:
        var(a - b) = (p_a (1 - p_a) + p_b (1 - p_b) - 2 cov) / n,    cov > 0: what is hard for one is hard for others.
        `unpaired` takes cov as 0. Its interval is wider than one paired on the questions would be.
    What another run would have given. On these very questions a run's accuracy has the standard deviation seed_sd,
        which must come from elsewhere. The first term holds a part of that already (chance in single answers), so
        adding all of seed_sd^2 for either row, as `unpaired` does, can only make the interval too wide.

At best, two methods find exactly the same questions hard. Pairing then removes all that the choice of questions adds,
and var(a - b) = 2 seed_sd^2 remains: `at_best`. No pairing of one run each gives less. What `unpaired` separates is
therefore separated, and what `at_best` does not separate is open, as far as seed_sd is right and the same for all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]

from .multiplicity import holm
from .stats import wilson

LEVEL, POWER = 0.05, 0.8


class PublishedRow(NamedTuple):
    """One run as published."""

    name: str
    accuracy: float  # in [0, 1]
    questions: int


class Difference(NamedTuple):
    """Row A less row B, in accuracy. low and high are the 95% interval."""

    difference: float
    low: float
    high: float
    p: float  # two-sided, of no difference; not corrected


Compare = Callable[[PublishedRow, PublishedRow], Difference]


class Standing(NamedTuple):
    """What is known of one row among the others."""

    verdict: int  # against the reference: 1 better, -1 worse, 0 undecided or the reference itself
    ranks: tuple[int, int]  # best and worst possible


def interval(row: PublishedRow) -> tuple[float, float]:
    """(low, high), Wilson's 95% interval over questions alone: it holds for this run, and says nothing of seeds."""
    return wilson(row.accuracy * row.questions, row.questions)


def unpaired(a: PublishedRow, b: PublishedRow, seed_sd: float = 0.0) -> Difference:
    """The difference of two rows as independent proportions, each of one run.

    One right and one wrong answer are added to either row (Agresti & Caffo, The American Statistician 54, 2000,
    280-288), so that rows at 0 and 100 % have a variance.

    Args:
        seed_sd: of a run's accuracy on the same questions, in [0, 1]; 0 compares these two runs and no methods.
    """
    p = [(row.accuracy * row.questions + 1) / (row.questions + 2) for row in (a, b)]
    variance = sum(x * (1 - x) / (row.questions + 2) for x, row in zip(p, (a, b), strict=True)) + 2 * seed_sd**2
    return _normal(a, b, p[0] - p[1], variance)


def at_best(a: PublishedRow, b: PublishedRow, seed_sd: float) -> Difference:
    """The difference as if pairing removed all that the choice of questions adds, and the noise of runs remained.

    Raises:
        ValueError: seed_sd is not above 0, so that nothing would be left to vary.
    """
    if not seed_sd > 0:
        raise ValueError(f"a standard deviation of {seed_sd} between runs; expected one above 0")
    return _normal(a, b, a.accuracy - b.accuracy, 2 * seed_sd**2)


def _normal(a: PublishedRow, b: PublishedRow, centre: float, variance: float) -> Difference:
    half = least_separated(variance)
    p = 2 * float(special.ndtr(-abs(centre) / sqrt(variance)))
    return Difference(a.accuracy - b.accuracy, max(-1.0, centre - half), min(1.0, centre + half), p)


def verdicts(rows: Sequence[PublishedRow], reference: PublishedRow, compare: Compare) -> list[int]:
    """1 for each row that is better than the reference, -1 for each that is worse, 0 for the others.

    Holm over all rows but the reference, whose own verdict is 0.
    """
    compared = [compare(row, reference) for row in rows]
    p = holm([nan if row == reference else one.p for row, one in zip(rows, compared, strict=True)])
    return [
        0 if not corrected < LEVEL else 1 if one.difference > 0 else -1
        for one, corrected in zip(compared, p.tolist(), strict=True)
    ]


def better(rows: Sequence[PublishedRow], compare: Compare) -> NDArray[np.bool_]:
    """(rows, rows) booleans: whether row i is better than row j, with Holm over all pairs."""
    i, j = np.triu_indices(len(rows), 1)
    compared = [compare(rows[a], rows[b]) for a, b in zip(i.tolist(), j.tolist(), strict=True)]
    separated = holm([one.p for one in compared]) < LEVEL
    ahead = np.array([one.difference > 0 for one in compared], dtype=bool)
    matrix = np.zeros((len(rows), len(rows)), dtype=bool)
    matrix[i, j], matrix[j, i] = separated & ahead, separated & ~ahead
    return matrix


def rank_ranges(wins: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(best, worst) rank of each row, from `better`: 1 + rows that are better, all rows less those that are worse."""
    above, below = wins.sum(0).tolist(), wins.sum(1).tolist()
    return [(1 + over, len(wins) - under) for over, under in zip(above, below, strict=True)]


def standings(rows: Sequence[PublishedRow], reference: PublishedRow, compare: Compare) -> list[Standing]:
    """Verdict and ranks of each row, in the order of the rows."""
    ranks = rank_ranges(better(rows, compare))
    return [Standing(*both) for both in zip(verdicts(rows, reference, compare), ranks, strict=True)]


def sd_from_median(median: float) -> float:
    """A run's standard deviation where |a - b| of two runs of one setting has this median, if runs are normal.

    The median of |N(0, 2 sd^2)| is 0.6745 sqrt(2) sd.
    """
    return median / (float(special.ndtri(0.75)) * sqrt(2))


def sd_from_pairs(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """(sd, low, high) of a run from pairs of runs, each pair of one setting: sqrt(mean (a - b)^2 / 2).

    low and high are the 95% interval if runs are normal: as many degrees of freedom as pairs, chi-squared.
    """
    squares = sum((a - b) ** 2 for a, b in pairs) / 2
    low, high = (sqrt(squares / special.chdtri(len(pairs), tail)) for tail in (LEVEL / 2, 1 - LEVEL / 2))
    return sqrt(squares / len(pairs)), low, high


def largest_of(pairs: int, sd: float) -> float:
    """The median of the largest |a - b| among so many pairs of normal runs with this standard deviation."""
    return float(special.ndtri((1 + 0.5 ** (1 / pairs)) / 2)) * sqrt(2) * sd


def least_separated(variance: float, comparisons: int = 1) -> float:
    """The smallest observed difference, of that variance, that Holm's first step over so many comparisons separates."""
    return float(special.ndtri(1 - LEVEL / (2 * comparisons))) * sqrt(variance)


def units_needed(difference: float, variance: float, comparisons: int = 1) -> int:
    """How many seeds of each row, or questions, show a true difference four times in five, at Holm's first step.

        k = variance (z_(1 - level / 2m) + z_power)^2 / difference^2

    where `variance / k` is that of the difference with k of them, and is known. Where the runs compared are all that
    tells it, its estimate costs one or two seeds more.
    """
    z = float(special.ndtri(1 - LEVEL / (2 * comparisons)) + special.ndtri(POWER))
    return ceil(variance * z**2 / difference**2)


class Repeats(NamedTuple):
    """How runs of one setting differ, in points."""

    pairs: int
    median: float  # of |a - b|
    sd: float  # of a - b
    largest: float

    @property
    def run_sd(self) -> float:
        """Of one run, in points, from the median, which a few outliers do not move."""
        return sd_from_median(self.median)

    @property
    def run_sd_from_sd(self) -> float:
        """Of one run, in points, from the standard deviation of the differences, outliers included."""
        return self.sd / sqrt(2)


@dataclass(frozen=True)
class JudgedTable:
    """A published table, best row first, with what is known of each row: as published, and at best."""

    rows: list[PublishedRow]
    reference: PublishedRow
    seed_sd: float
    unpaired: list[Standing]
    at_best: list[Standing]

    @classmethod
    def of(cls, rows: Sequence[PublishedRow], reference: str, seed_sd: float) -> JudgedTable:
        """Judge the rows against the one that `reference` names.

        Raises:
            ValueError: not exactly one row has that name, or seed_sd is not above 0.
        """
        ordered = sorted(rows, key=lambda row: -row.accuracy)
        named = [row for row in ordered if row.name == reference]
        if len(named) != 1:
            raise ValueError(f"{len(named)} rows are named {reference}; expected one")
        both = (standings(ordered, named[0], partial(how, seed_sd=seed_sd)) for how in (unpaired, at_best))
        return cls(ordered, named[0], seed_sd, *both)

    def needed(self, comparisons: int = 1, seed_sd: float | None = None) -> float:
        """The smallest difference from the reference that the first of so many comparisons separates, as published."""
        p, sd = self.reference.accuracy, self.seed_sd if seed_sd is None else seed_sd
        return least_separated(2 * (p * (1 - p) / self.reference.questions + sd**2), comparisons)

    def needed_at_best(self, comparisons: int = 1) -> float:
        """The same where pairing leaves the noise of runs alone."""
        return least_separated(2 * self.seed_sd**2, comparisons)
