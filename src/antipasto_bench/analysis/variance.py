"""Where the uncertainty of an accuracy comes from: questions, seeds, and the noise of single answers.

A table of scores is (seeds, questions): 1 right, 0 wrong, nan missing, the same questions in the same order in every
row and for every arm. What is estimated is the accuracy of a method, over the questions one could ask and the seeds
one could train with. (Tables of losses, see losses.py, hold real numbers; the same holds for them, in nats.) Three
things then vary (two-way random effects; Searle, Casella & McCulloch, Variance Components, 1992, ch. 4). With n
questions, k seeds, p_q the mean of question q over seeds and a_s the accuracy of seed s:

    V = var_q(p_q) / n              questions, and the noise that averaging over the seeds has left in them
    B = var_s(a_s)                  seeds, and the noise below; known from f = k - 1 degrees of freedom
    E = residual mean square / n    noise: what B would be if seeds differed by chance alone
    S = max(0, B - E f/(f+1)) / k   seeds alone
    stderr^2 = V + S

Where questions come in c kinds (stories told with other numbers, say), those of a kind are right and wrong together,
and V is that of the kinds' totals (linearised; Cochran, Sampling Techniques, 3rd ed. 1977, section 9A.10):

    V = c / (c - 1) sum_c (sum_q in c (p_q - p))^2 / n^2        known from c - 1 degrees of freedom

So are the residuals r_sq of the scores from their question's mean and their seed's: seeds that differ in the kinds they
get right raise B, and they raise V too, by E / k. E is then that of the kinds' totals, or B would count them again:

    E = c / (c - 1) sum_s sum_c (sum_q in c r_sq)^2 / (n^2 (k - 1))        with a kind for each question it is E above

Where scores are missing it is E above, times what totals and single residuals make of the formula. It may come out
below E above: taking the larger one of the two would overstate it, by 12 % with three seeds and ten kinds that do not
matter.

Subtracting all of E makes S zero too often, and subtracting none counts the noise twice; the factor f/(f+1), chosen by
simulation, keeps both errors small. How S is taken from an arm's own seeds or from all arms: seed_noise.py. What
intervals and p are made of V and S: error.py. Sums are exact (fsum), so no result depends on the order of seeds or
questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import fsum, inf, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

NO_SCORES = "no scores: at least one seed and one question are needed"
ROOM = 0.09  # p (1 - p) at an accuracy of 10 or 90 %

Array = NDArray[np.float64]
Kinds = Sequence[str] | NDArray[np.str_] | None  # the kind of each question


@dataclass(frozen=True)
class SeedNoise:
    """How much the accuracy of a run varies from seed to seed: B, E and f above; of one arm, or pooled over many."""

    variance: float  # B, of accuracies in [0, 1]
    chance: float  # E
    df: float  # f; 0 where no arm had two seeds, and nothing is known
    hidden: float = 0.0  # of a pool: the share of arms that may vary far more than it, see seed_noise.py
    loudest: float = inf  # of a pool: the largest B that such an arm can have
    of_kinds: float = 0.0  # of E: what it has beyond the noise of single answers, as seeds differ in the kinds they can

    @property
    def of_answers(self) -> float:
        """Of E: the noise of single answers, as if each were of a kind of its own."""
        return self.chance - self.of_kinds


@dataclass(frozen=True)
class ArmMeans:
    """The means of a table of scores, and the noise of its seeds."""

    questions: Array  # (questions,), each question's mean over the seeds that have it
    deviations: Array  # (seeds,), each seed's accuracy less that of all seeds on the questions it has
    noise: SeedNoise
    room: float = 1.0  # factor on the pool's B: below 1 where an accuracy is so near 0 or 1 that seeds can vary little
    kinds: Kinds = None  # (questions,); None where they are of one kind, or of none

    @property
    def seeds(self) -> int:
        return len(self.deviations)

    @cached_property
    def mean(self) -> float:
        return fsum(self.questions.tolist()) / len(self.questions)

    @cached_property
    def kind_totals(self) -> list[float]:
        """The sum of `questions` over each kind; only where there are kinds."""
        return kind_totals(self.questions[None], self.kinds)[0]

    @property
    def settled(self) -> bool:
        """Whether its seeds answered every question alike: they are then one run, and no other seed differs."""
        return self.seeds > 1 and self.noise.variance == self.noise.of_answers == 0


def score_table(correct: ArrayLike) -> Array:
    """Scores as a (seeds, questions) table.

    Raises:
        ValueError: there is no score, or one is not 0, 1 or nan.
    """
    table = np.atleast_2d(np.asarray(correct, dtype=float))
    present = ~np.isnan(table)
    if not present.any():
        raise ValueError(NO_SCORES)
    if ((table != 0) & (table != 1) & present).any():
        raise ValueError("a score is neither 0 nor 1; a missing one is nan")
    return table


def score_means(table: Array, kinds: Kinds = None) -> ArmMeans:
    """The means of a (seeds, questions) table of scores of 0 and 1, or nan; see `arm_means`."""
    arm = arm_means(table, kinds)
    return replace(arm, room=min(1.0, arm.mean * (1 - arm.mean) / ROOM))


def arm_means(table: Array, kinds: Kinds = None) -> ArmMeans:
    """The means of a (seeds, questions) table; seeds and questions without any score are left out.

    Args:
        kinds: (questions,).
    """
    present = ~np.isnan(table)
    if not present.all():
        kinds = None if kinds is None else np.asarray(kinds)[present.any(0)]
        table = table[present.any(1)][:, present.any(0)]
        present = ~np.isnan(table)
    kinds = several(kinds)
    scores, (seeds, n) = np.where(present, table, 0.0), table.shape
    per_question, per_seed = present.sum(0), present.sum(1)
    means = scores.sum(0) / per_question
    deviations = (scores.sum(1) - [fsum(means[row].tolist()) for row in present]) / per_seed
    if seeds == 1:
        return ArmMeans(means, deviations, SeedNoise(0.0, 0.0, 0.0), kinds=kinds)
    # What seeds do not explain of the squares about each question's mean is noise.
    about_means = np.where(present, (table - means) ** 2, 0.0)
    squares = fsum(about_means.ravel().tolist()) - fsum((per_seed * deviations**2).tolist())
    df = int(per_seed.sum()) - n - seeds + 1
    chance = max(0.0, squares) / df * fsum((1 / per_seed).tolist()) / seeds if df > 0 else 0.0
    of_kinds = 0.0
    if kinds is not None and chance:
        residuals = np.where(present, table - means - deviations[:, None], 0.0)
        of_kinds = (_design_effect(residuals, kinds) - 1) * chance
    noise = SeedNoise(sample_variance(deviations), chance + of_kinds, seeds - 1.0, of_kinds=of_kinds)
    return ArmMeans(means, deviations, noise, kinds=kinds)


def _design_effect(residuals: Array, kinds: Kinds) -> float:
    """How many times the variance over questions that over kinds is (Kish, Survey Sampling, 1965, section 8.2).

    Args:
        residuals: (seeds, questions), not all of them 0.
    """
    totals = kind_totals(residuals, kinds)
    c, n = len(totals[0]), residuals.shape[1]
    of_totals = fsum(total**2 for row in totals for total in row)
    of_single = fsum((residuals**2).ravel().tolist())
    return float((c / (c - 1) * of_totals) / (n / (n - 1) * of_single))


def sample_variance(values: Array, mean: float | None = None) -> float:
    """The sum of squares about the mean over n - 1; nan for one value.

    Args:
        mean: of the values, where it is known.
    """
    n = len(values)
    mean = fsum(values.tolist()) / n if mean is None else mean
    return fsum(((values - mean) ** 2).tolist()) / (n - 1) if n > 1 else nan


def smoothed_variance(squares: float, n: int, scale: float, centre: float) -> float:
    """V of n differences and two pretended ones, of +sqrt(scale / 2) and -sqrt(scale / 2).

    Args:
        squares: the sum of the n differences' squares.
        scale: 1/k of one arm plus 1/k of the other: two runs, of one seed each, differ by 1 on a pretended question.
        centre: the mean of all n + 2.
    """
    return ((squares + scale) / (n + 2) - centre**2) / (n + 2)


def several(kinds: Kinds) -> Kinds:
    """The kinds; None where all questions are of one, which says nothing of others."""
    return kinds if kinds is not None and len(set(kinds)) > 1 else None


def kind_totals(values: Array, kinds: Kinds) -> list[list[float]]:
    """The sum of each row's values over each kind: (rows, questions) to (rows, kinds)."""
    order, bounds = _places_by_kind(_as_tuple(kinds))
    rows = [row.tolist() for row in values[:, order]]
    return [[fsum(row[start:end]) for start, end in bounds] for row in rows]


def _as_tuple(kinds: Kinds) -> tuple[str, ...]:
    return kinds if isinstance(kinds, tuple) else tuple(np.asarray(kinds).tolist())


@lru_cache(maxsize=16)
def _places_by_kind(kinds: tuple[str, ...]) -> tuple[NDArray[np.intp], list[tuple[int, int]]]:
    """The order that sorts questions by their kinds, and the (start, end) of each kind in it.

    Kept, as every pair of arms asks for the same.
    """
    _, places = np.unique(np.asarray(kinds), return_inverse=True)
    ends = np.cumsum(np.bincount(places)).tolist()
    return np.argsort(places, kind="stable"), list(zip([0, *ends], ends, strict=False))


def difference_variance(a: ArmMeans, b: ArmMeans, mean: float) -> tuple[float, float]:
    """`question_variance` of the differences of two arms, question by question.

    With kinds it is of the totals that each arm has already: many pairs are asked of a few arms.

    Args:
        a, b: of the same questions and kinds.
        mean: of the differences.
    """
    if a.kinds is None:
        return question_variance(a.questions - b.questions, None, mean)
    n, counts = len(a.questions), [end - start for start, end in _places_by_kind(_as_tuple(a.kinds))[1]]
    totals = (x - y - mean * count for x, y, count in zip(a.kind_totals, b.kind_totals, counts, strict=True))
    c = len(counts)
    return c / (c - 1) * fsum(total**2 for total in totals) / n**2, c - 1.0


def question_variance(values: Array, kinds: Kinds = None, mean: float | None = None) -> tuple[float, float]:
    """(V, its degrees of freedom) of the mean of some values, one a question.

    Without kinds they are inf, as those of an accuracy are taken: V is then known well enough for a normal.

    Args:
        values: (questions,).
        kinds: (questions,); at least two different ones.
        mean: of the values, where it is known.
    """
    n = len(values)
    mean = fsum(values.tolist()) / n if mean is None else mean
    if kinds is None:
        return sample_variance(values, mean) / n, inf
    (totals,) = kind_totals((values - mean)[None], kinds)
    c = len(totals)
    return c / (c - 1) * fsum(total**2 for total in totals) / n**2, c - 1.0
