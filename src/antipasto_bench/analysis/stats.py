"""Accuracies with intervals, and differences between arms with p values: small pure functions over tables of scores.

Nothing here reads a file or draws a random number. What a table is, and what V, B, E, S and f are: see variance.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # type: ignore[import-untyped]

from .variance import (
    NO_SCORES,
    ArmMeans,
    SeedNoise,
    arm_means,
    half_width,
    p_value,
    pooled,
    sample_variance,
    score_table,
    seed_variance,
    smoothed_variance,
)


@dataclass(frozen=True)
class Summary:
    """An arm over its seeds; all in units of accuracy, [0, 1]. low and high are the 95% interval."""

    mean: float
    stderr: float  # nan for a single question
    low: float
    high: float
    seed_sd: float  # standard deviation of the seeds' accuracies as observed, noise included; nan for one seed
    binomial_sd: float  # what drawing n questions alone does to one run: sqrt(p (1 - p) / n)
    seeds: int
    questions: int


@dataclass(frozen=True)
class Comparison:
    """Arm A less arm B, in differences of accuracy, [-1, 1], or of loss. low and high are the 95% interval."""

    difference: float
    stderr: float
    low: float
    high: float
    p: float  # two-sided, of no difference; not corrected for the number of comparisons
    questions: int  # that both arms have
    spread: float  # variance over questions of the difference between the arms' means over seeds


def accuracy_over_seeds(correct: ArrayLike) -> tuple[float, float]:
    """(mean, stderr) over seeds and questions; stderr is nan for a single question.

    stderr^2 = V + B/k. For one seed nothing is known of B and the second term is 0: this is then lm-eval's own stderr.
    Both terms contain the noise E. `summarise` subtracts it from one of them, so its stderr is never larger than this.

    Raises:
        ValueError: there are no seeds or no questions.
    """
    table = np.atleast_2d(np.asarray(correct, dtype=float))
    if np.isnan(table).all():
        raise ValueError(NO_SCORES)
    arm = arm_means(table)
    V = sample_variance(arm.questions) / len(arm.questions)
    return arm.mean, sqrt(V + arm.noise.variance / arm.seeds)


def wilson(right: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """(low, high), Wilson's score interval of one run: accuracies that `right` of n questions do not rule out.

    (p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), p = right/n (JASA 22, 1927, 209-212); n need not be whole.
    (0, 1) for n = 0; low is exactly 0 when all are wrong, high exactly 1 when all are right.

    Raises:
        ValueError: right is not between 0 and n.
    """
    if not 0 <= right <= n:
        raise ValueError(f"{right} right of {n} questions is impossible; expected 0 <= right <= n")
    if n == 0:
        return 0.0, 1.0
    p, z2 = right / n, float(special.ndtri((1 + level) / 2)) ** 2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return 0.0 if right == 0 else max(0.0, centre - half), 1.0 if right == n else min(1.0, centre + half)


def seed_noise(arms: Iterable[ArrayLike]) -> SeedNoise:
    """How much runs vary with their seeds, pooled over the tables of many arms by degrees of freedom.

    Three seeds of one arm say so little of it that only arms far apart would be separated; all arms of a benchmark
    together say enough. An arm with one seed adds nothing.

    Raises:
        ValueError: an arm has no score, or one is not 0, 1 or nan.
    """
    return pooled(arm_means(score_table(arm)).noise for arm in arms)


def summarise(correct: ArrayLike, family: SeedNoise | None = None) -> Summary:
    """An arm's accuracy, with an interval for the method's accuracy over questions and seeds.

    The questions' part of the interval is Wilson's at the effective number of questions p(1-p) / V (Kott & Carr,
    J. Official Statistics 13, 1997, 275-280). The seeds' part is added to each side in squares (Zou & Donner,
    Statistics in Medicine 27, 2008, 1693-1702). For one seed without `family` the interval is Wilson's, and holds for
    that run only: one seed says nothing of others.

    Args:
        correct: (seeds, questions); a question that no seed has a score of is left out.
        family: `seed_noise` of all arms. S is then the larger of the arm's own and the family's, with the family's f.

    Raises:
        ValueError: there is no score, or one is not 0, 1 or nan.
    """
    arm = arm_means(score_table(correct))
    n, k, mean = len(arm.questions), arm.seeds, arm.mean
    V = sample_variance(arm.questions) / n
    S, df = seed_variance([arm], family)
    effective = float(n)
    if n > 1 and 0 < mean < 1:  # else V is unknown, or 0, which says nothing of the certainty
        effective *= min(k, mean * (1 - mean) / ((n - 1) * V)) if V else k
    low, high = wilson(mean * effective, effective)
    if S:
        V_known = V if n > 1 else 0.0
        more = half_width(V_known, S, df) ** 2 - half_width(V_known, 0.0, df) ** 2
        low = max(0.0, mean - sqrt((mean - low) ** 2 + more))
        high = min(1.0, mean + sqrt((high - mean) ** 2 + more))
    seed_sd = sqrt(arm.noise.variance) if k > 1 else nan
    return Summary(mean, sqrt(V + S), low, high, seed_sd, sqrt(mean * (1 - mean) / n), k, n)


def compare(
    a: ArrayLike, b: ArrayLike, family: SeedNoise | None = None, varies: tuple[bool, bool] = (True, True)
) -> Comparison:
    """Arm A less arm B, paired on the questions that both have; their seeds are independent, and may differ in number.

    V is that of the differences, and S is the sum over both arms (f by Welch-Satterthwaite; an arm with one seed is
    taken to vary as the other does). V and B are the limits, in closed form, of bootstraps over questions and over
    seeds (times k/(k-1)). Drawn bootstraps would add noise of their own, and could not give a p as small as the 0.0001
    that Holm needs over 300 pairs.

    Two pretended questions, one that A wins and one that B wins, keep V above 0; for one seed each that gives the
    interval of Bonett & Price, J. Educational and Behavioral Statistics 37, 2012, 479-488. p is 1 minus the level at
    which the interval would end at 0. For one seed each without `family`, p is that of McNemar's exact test, which
    compares two runs and not two methods, and is stricter.

    Args:
        a: (seeds of A, questions).
        b: (seeds of B, questions), the same questions in the same order.
        family: `seed_noise` of all arms. S is then the larger of the pair's own and the family's, with the family's f.
            Give it wherever `holm` follows: at very small p, the few seeds of two arms reject too often.
        varies: whether another seed would give another A, and another B; an untrained model adds nothing to S.

    Raises:
        ValueError: the tables differ in questions, share none, or hold a score that is not 0, 1 or nan.
    """
    A, B = score_table(a), score_table(b)
    if A.shape[1] != B.shape[1]:
        raise ValueError(f"tables of {A.shape[1]} and {B.shape[1]} questions; expected the same questions in both")
    both = ~(np.isnan(A).all(0) | np.isnan(B).all(0))
    if not both.any():
        raise ValueError("no question has a score in both arms; at least one is needed")
    arms = [arm_means(A[:, both]), arm_means(B[:, both])]
    d = arms[0].questions - arms[1].questions
    n, scale = len(d), 1 / arms[0].seeds + 1 / arms[1].seeds
    total = fsum(d.tolist())
    centre = total / (n + 2)
    V = smoothed_variance(fsum((d * d).tolist()), n, scale, centre)
    S, df = seed_variance([arm for arm, trained in zip(arms, varies, strict=True) if trained], family)
    half, p = half_width(V, S, df), p_value(abs(centre), V, S, df)
    if df == inf:
        wins, losses = int((d > 0).sum()), int((d < 0).sum())
        p = min(1.0, 2 * float(special.bdtr(min(wins, losses), wins + losses, 0.5)))  # exact, and symmetric at 1/2
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return Comparison(total / n, sqrt(V + S), low, high, p, n, sample_variance(d))


def gap(valid: ArrayLike, test: ArrayLike) -> tuple[float, float]:
    """Validation less test accuracy, and its standard error: by how much choosing by validation flatters.

    The questions differ, so V is the sum of both splits'. The seeds are the same, so B is of each seed's own gap: what
    a seed adds to both splits cancels.

    Args:
        valid: (seeds, validation questions).
        test: (seeds, test questions), the same seed in the same row.

    Returns:
        (gap, stderr), of accuracies; stderr is nan where a split has a single question.

    Raises:
        ValueError: the seeds differ in number, a seed lacks a split, or a score is not 0, 1 or nan.
    """
    tables = [score_table(valid), score_table(test)]
    if len(tables[0]) != len(tables[1]) or any(np.isnan(table).all(1).any() for table in tables):
        raise ValueError("expected the same seeds in validation and test, each with a score in both")
    a, b = map(arm_means, tables)
    noise = SeedNoise(sample_variance(a.deviations - b.deviations), a.noise.chance + b.noise.chance, a.noise.df)
    S, _ = seed_variance([ArmMeans(a.questions, a.deviations, noise)], None)
    V = sample_variance(a.questions) / len(a.questions) + sample_variance(b.questions) / len(b.questions)
    return a.mean - b.mean, sqrt(V + S)
