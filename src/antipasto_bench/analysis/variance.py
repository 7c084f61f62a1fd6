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

Subtracting all of E makes S zero too often, and subtracting none counts the noise twice; the factor f/(f+1), chosen by
simulation, keeps both errors small. How S is taken from an arm's own seeds or from all arms: seed_noise.py. What
intervals and p are made of V and S: error.py. Sums are exact (fsum), so no result depends on the order of seeds or
questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ArmMeans:
    """The means of a table of scores, and the noise of its seeds."""

    questions: Array  # (questions,), each question's mean over the seeds that have it
    deviations: Array  # (seeds,), each seed's accuracy less that of all seeds on the questions it has
    noise: SeedNoise
    room: float = 1.0  # factor on the pool's B: below 1 where an accuracy is so near 0 or 1 that seeds can vary little

    @property
    def seeds(self) -> int:
        return len(self.deviations)

    @property
    def mean(self) -> float:
        return fsum(self.questions.tolist()) / len(self.questions)

    @property
    def settled(self) -> bool:
        """Whether its seeds answered every question alike: they are then one run, and no other seed differs."""
        return self.seeds > 1 and self.noise.variance == self.noise.chance == 0


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


def score_means(table: Array) -> ArmMeans:
    """The means of a (seeds, questions) table of scores of 0 and 1, or nan."""
    arm = arm_means(table)
    return ArmMeans(arm.questions, arm.deviations, arm.noise, min(1.0, arm.mean * (1 - arm.mean) / ROOM))


def arm_means(table: Array) -> ArmMeans:
    """The means of a (seeds, questions) table; seeds and questions without any score are left out."""
    present = ~np.isnan(table)
    if not present.all():
        table = table[present.any(1)][:, present.any(0)]
        present = ~np.isnan(table)
    scores, (seeds, n) = np.where(present, table, 0.0), table.shape
    per_question, per_seed = present.sum(0), present.sum(1)
    means = scores.sum(0) / per_question
    deviations = (scores.sum(1) - [fsum(means[row].tolist()) for row in present]) / per_seed
    if seeds == 1:
        return ArmMeans(means, deviations, SeedNoise(0.0, 0.0, 0.0))
    # What seeds do not explain of the squares about each question's mean is noise.
    about_means = np.where(present, (table - means) ** 2, 0.0)
    squares = fsum(about_means.ravel().tolist()) - fsum((per_seed * deviations**2).tolist())
    df = int(per_seed.sum()) - n - seeds + 1
    chance = max(0.0, squares) / df * fsum((1 / per_seed).tolist()) / seeds if df > 0 else 0.0
    return ArmMeans(means, deviations, SeedNoise(sample_variance(deviations), chance, seeds - 1.0))


def sample_variance(values: Array) -> float:
    """The sum of squares about the mean over n - 1; nan for one value."""
    n = len(values)
    mean = fsum(values.tolist()) / n
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


def question_variance(values: Array, kinds: Kinds = None) -> tuple[float, float]:
    """(V, its degrees of freedom) of the mean of some values, one a question.

    Without kinds they are inf, as those of an accuracy are taken: V is then known well enough for a normal.

    Args:
        values: (questions,).
        kinds: (questions,); at least two different ones.
    """
    n = len(values)
    if kinds is None:
        return sample_variance(values) / n, inf
    from_mean, kinds = values - fsum(values.tolist()) / n, np.asarray(kinds)
    totals = [fsum(from_mean[kinds == kind].tolist()) for kind in dict.fromkeys(kinds.tolist())]
    c = len(totals)
    return c / (c - 1) * fsum(total**2 for total in totals) / n**2, c - 1.0
