"""Accuracies with intervals, and differences between arms with p values: small pure functions over tables of scores.

Nothing here reads a file or draws a random number. What a table is, and what V, B, E, S and f are: see variance.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import fsum, inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # type: ignore[import-untyped]

from .error import Error
from .seed_noise import SeedError, seed_error
from .variance import (
    ArmMeans,
    Kinds,
    SeedNoise,
    difference_variance,
    question_variance,
    sample_variance,
    score_means,
    score_table,
    smoothed_variance,
)

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Summary:
    """An arm over its seeds; all in units of accuracy, [0, 1]. low and high are the 95% interval."""

    mean: float
    stderr: float  # nan for a single question
    low: float
    high: float
    seed_sd: float  # standard deviation of the seeds' accuracies as observed, noise included; nan for one seed
    seeds: int
    questions: int
    effective: float  # how many independent questions would say as much of one run; fewer than all where kinds matter


@dataclass(frozen=True)
class Comparison:
    """Arm A less arm B, in differences of accuracy, [-1, 1], or of loss."""

    difference: float
    centre: float  # of the interval: the difference, drawn a little towards 0 for accuracies
    error: Error
    questions: int  # that both arms have
    spread: float  # variance over questions of the difference between the arms' means over seeds
    bound: float = 1.0  # no difference is larger
    exact_p: float | None = None  # of two single runs

    @property
    def stderr(self) -> float:
        return self.error.stderr

    @cached_property
    def half(self) -> float:
        return self.error.half()

    @property
    def low(self) -> float:
        """The lower end of the 95% interval."""
        return max(-self.bound, self.centre - self.half)

    @property
    def high(self) -> float:
        return min(self.bound, self.centre + self.half)

    @cached_property
    def p(self) -> float:
        """Two-sided, of no difference; not corrected for the number of comparisons."""
        return self.error.p(abs(self.centre)) if self.exact_p is None else self.exact_p

    def p_not_below(self, limit: float) -> float:
        """One-sided p of a truth at or below a limit: small where the difference is surely above it."""
        distance = self.centre - limit
        p = self.error.p(abs(distance)) / 2
        return p if distance > 0 else 1 - p

    def reversed(self) -> Comparison:
        """B less A."""
        return Comparison(
            -self.difference, -self.centre, self.error, self.questions, self.spread, self.bound, self.exact_p
        )


def wilson(right: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """(low, high), Wilson's score interval of one run: accuracies that `right` of n questions do not rule out.

    (p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), p = right/n (JASA 22, 1927, 209-212); n need not be whole.
    (0, 1) for n = 0; low is exactly 0 when all are wrong, high exactly 1 when all are right.

    Raises:
        ValueError: right is not between 0 and n.
    """
    return _wilson(right, n, float(special.ndtri((1 + level) / 2)))


def _wilson(right: float, n: float, z: float) -> tuple[float, float]:
    if not 0 <= right <= n:
        raise ValueError(f"{right} right of {n} questions is impossible; expected 0 <= right <= n")
    if n == 0:
        return 0.0, 1.0
    p, z2 = right / n, z**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return 0.0 if right == 0 else max(0.0, centre - half), 1.0 if right == n else min(1.0, centre + half)


def summarise(correct: ArrayLike, pool: SeedNoise | None = None, varies: bool = True, kinds: Kinds = None) -> Summary:
    """An arm's accuracy, with an interval for the method's accuracy over questions and seeds.

    The questions' part of the interval is Wilson's at the effective number of questions p(1-p) / V (Kott & Carr,
    J. Official Statistics 13, 1997, 275-280). The seeds' part is added to each side in squares (Zou & Donner,
    Statistics in Medicine 27, 2008, 1693-1702). For one seed without a pool the interval is Wilson's, and holds for
    that run only: one seed says nothing of others.

    Args:
        correct: (seeds, questions); a question that no seed has a score of is left out.
        pool: `seed_noise` of all arms of the table.
        varies: whether another seed would give another arm; an untrained model has no seeds' part.
        kinds: of the questions. The interval is then for the accuracy over kinds that one could ask.

    Raises:
        ValueError: there is no score, or one is not 0, 1 or nan.
    """
    table = score_table(correct)
    arm = score_means(table, kinds)
    n, k, mean = len(arm.questions), arm.seeds, arm.mean
    V, question_df = question_variance(arm.questions, arm.kinds)
    seeds = seed_error([arm], pool) if varies else SeedError(())
    weight = float(n)  # of how many questions of a single run the questions' part is
    if n > 1 and 0 < mean < 1:  # else V is unknown, or 0, which says nothing of the certainty
        weight *= min(k, mean * (1 - mean) / ((n - 1) * V)) if V else k
    V_known = V if n > 1 else 0.0
    bare = Error(V_known, SeedError(()), question_df)
    low, high = _wilson(mean * weight, weight, bare.half() / sqrt(V_known) if V_known else Z95)
    if seeds.known:
        more = Error(V_known, seeds, question_df).half() ** 2 - bare.half() ** 2
        low = max(0.0, mean - sqrt((mean - low) ** 2 + more))
        high = min(1.0, mean + sqrt((high - mean) ** 2 + more))
    effective = n * min(1.0, sample_variance(arm.questions) / n / V) if arm.kinds is not None and V else float(n)
    seed_sd = sqrt(arm.noise.variance) if k > 1 else nan
    return Summary(mean, Error(V, seeds).stderr, low, high, seed_sd, k, n, effective)


def compare(
    a: ArrayLike,
    b: ArrayLike,
    pool: SeedNoise | None = None,
    varies: tuple[bool, bool] = (True, True),
    kinds: Kinds = None,
) -> Comparison:
    """Arm A less arm B, paired on the questions that both have; their seeds are independent, and may differ in number.

    V is that of the differences, and S is the sum over both arms. V and B are the limits, in closed form, of bootstraps
    over questions and over seeds (times k/(k-1)). Drawn bootstraps would add noise of their own, and could not give a p
    as small as the 0.0001 that Holm needs over 300 pairs.

    Two pretended questions, one that A wins and one that B wins, keep V above 0; for one seed each that gives the
    interval of Bonett & Price, J. Educational and Behavioral Statistics 37, 2012, 479-488. p is 1 minus the level at
    which the interval would end at 0. For one seed each without a pool and kinds, p is that of McNemar's exact test,
    which compares two runs and not two methods, and is stricter.

    Args:
        a: (seeds of A, questions).
        b: (seeds of B, questions), the same questions in the same order.
        pool: `seed_noise` of all arms of the table. Give it wherever `holm` follows: at very small p, the few seeds of
            two arms reject too often.
        varies: whether another seed would give another A, and another B; an untrained model adds nothing to S.
        kinds: of the questions. The difference is then that over kinds that one could ask.

    Raises:
        ValueError: the tables differ in questions, share none, or hold a score that is not 0, 1 or nan.
    """
    A, B = score_table(a), score_table(b)
    if A.shape[1] != B.shape[1]:
        raise ValueError(f"tables of {A.shape[1]} and {B.shape[1]} questions; expected the same questions in both")
    both = ~(np.isnan(A).all(0) | np.isnan(B).all(0))
    if not both.any():
        raise ValueError("no question has a score in both arms; at least one is needed")
    shared = None if kinds is None else np.asarray(kinds)[both]
    return compare_means((score_means(A[:, both], shared), score_means(B[:, both], shared)), pool, varies)


def compare_means(arms: tuple[ArmMeans, ArmMeans], pool: SeedNoise | None, varies: tuple[bool, bool]) -> Comparison:
    """`compare` of two arms that have a score of every question, of the same kinds."""
    d = arms[0].questions - arms[1].questions
    n, scale = len(d), 1 / arms[0].seeds + 1 / arms[1].seeds
    total = fsum(d.tolist())
    difference, centre, kinds = total / n, total / (n + 2), arms[0].kinds
    if kinds is None:
        V, question_df = smoothed_variance(fsum((d * d).tolist()), n, scale, centre), inf
    else:
        of_kinds, question_df = difference_variance(*arms, difference)
        V = of_kinds + scale / (n + 2) ** 2  # what the two pretended questions add
    seeds = seed_error([arm for arm, trained in zip(arms, varies, strict=True) if trained], pool)
    exact = None
    if not seeds.known and kinds is None:
        wins, losses = int((d > 0).sum()), int((d < 0).sum())
        exact = min(1.0, 2 * float(special.bdtr(min(wins, losses), wins + losses, 0.5)))  # symmetric at 1/2
    spread = float(d.var(ddof=1)) if n > 1 else nan
    return Comparison(difference, centre, Error(V, seeds, question_df), n, spread, exact_p=exact)
