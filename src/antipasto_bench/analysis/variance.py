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
    half width of the 95% interval = (z V + t_f S) / stderr

Each part has its own quantile, weighted as in Cochran, Biometrics 20, 1964, 191-195. With three seeds f is 2, and one
Satterthwaite t for the sum covers as little as 91% where seeds matter, because S and its weight in f are then too low
together. Subtracting all of E makes S zero too often, and subtracting none counts the noise twice; the factor f/(f+1),
chosen by simulation, keeps both errors small. Sums are exact (fsum), so no result depends on the order of seeds or
questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum, inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special  # type: ignore[import-untyped]

NO_SCORES = "no scores: at least one seed and one question are needed"
Z95 = 1.959963984540054
LARGEST_Z = 12.0  # p is resolved down to 4e-33; beyond, the quantiles of one degree of freedom leave a float's range

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SeedNoise:
    """How much the accuracy of a run varies from seed to seed: B, E and f above."""

    variance: float  # B, of accuracies in [0, 1]
    chance: float  # E
    df: float  # f; 0 where no arm had two seeds, and nothing is known


@dataclass(frozen=True)
class ArmMeans:
    """The means of a table of scores, and the noise of its seeds."""

    questions: Array  # (questions,), each question's mean over the seeds that have it
    deviations: Array  # (seeds,), each seed's accuracy less that of all seeds on the questions it has
    noise: SeedNoise

    @property
    def seeds(self) -> int:
        return len(self.deviations)

    @property
    def mean(self) -> float:
        return fsum(self.questions.tolist()) / len(self.questions)


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


def pooled(noises: Iterable[SeedNoise]) -> SeedNoise:
    """The noise of many arms, weighted by degrees of freedom; an arm with one seed adds nothing."""
    noises = list(noises)
    df = fsum(noise.df for noise in noises)
    variance = fsum(noise.df * noise.variance for noise in noises)
    chance = fsum(noise.df * noise.chance for noise in noises)
    return SeedNoise(variance / df, chance / df, df) if df else SeedNoise(0.0, 0.0, 0.0)


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


def seed_variance(arms: Sequence[ArmMeans], family: SeedNoise | None) -> tuple[float, float]:
    """S of the mean of one arm, or of the difference between two, and its degrees of freedom.

    (0, inf) where nothing is known of seeds.
    """
    if not arms:
        return 0.0, inf
    scale = fsum(1 / arm.seeds for arm in arms)
    known = [arm for arm in arms if arm.noise.df]
    weights = [1 / arm.seeds for arm in known] if len(known) == len(arms) else [scale] * len(known)
    parts = [weight * arm.noise.variance for weight, arm in zip(weights, known, strict=True)]
    chance = fsum(weight * arm.noise.chance for weight, arm in zip(weights, known, strict=True))
    least = 0.0
    if family and family.df:
        df = family.df
        least = scale * max(0.0, family.variance - family.chance / (1 + 1 / df))
    elif known:
        below = fsum(part**2 / arm.noise.df for part, arm in zip(parts, known, strict=True))
        df = fsum(parts) ** 2 / below if below else fsum(arm.noise.df for arm in known)
    else:
        return 0.0, inf
    return max(least, fsum(parts) - chance / (1 + 1 / df)), df


def half_width(V: float, S: float, df: float, z: float = Z95, question_df: float = inf) -> float:
    """(z V + t S) / stderr: half the width of an interval.

    Args:
        df: f of S. t is what Student's t with df degrees of freedom exceeds as often as a standard normal exceeds z.
        z: 1.96 for an interval of 95 %.
        question_df: degrees of freedom of V, where it is estimated from few questions; a t of its own takes the place
            of z then.
    """
    return (_t_quantile(question_df, z) * V + _t_quantile(df, z) * S) / sqrt(V + S) if V + S else 0.0


def p_value(difference: float, V: float, S: float, df: float, question_df: float = inf) -> float:
    """Two-sided p of a difference >= 0: 1 - p is the level of the interval that just ends at 0."""
    if difference == 0:
        return 1.0
    most = min(difference / sqrt(V), LARGEST_Z) if V else LARGEST_Z
    if half_width(V, S, df, most, question_df) > difference:
        most = optimize.brentq(lambda z: half_width(V, S, df, z, question_df) - difference, 0.0, most)
    return 2 * float(special.ndtr(-most))


def _t_quantile(df: float, z: float) -> float:
    """The t that Student's t with df degrees of freedom exceeds as often as a standard normal exceeds z."""
    return z if df == inf else -float(special.stdtrit(df, special.ndtr(-z)))
