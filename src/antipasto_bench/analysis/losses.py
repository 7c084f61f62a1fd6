"""Losses with standard errors, and differences between arms with p values: as `stats.py` has them for accuracies.

A table of losses is (seeds, questions), in nats a token, each completion token of the same weight. With l_sq nats of
seed s on question q, whose solution has t_q tokens, t their mean and R the arm's loss over all seeds and questions:

    x_sq = R + (l_sq - R t_q) / t

Its mean is R, and the mean of a row is that seed's own loss. R is a ratio of two sums that vary with the questions, and
x is that ratio, linearised (Cochran, Sampling Techniques, 3rd ed. 1977, section 2.11): the variance of x over questions
is that of the ratio. What V, B, E, S and f are: see variance.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum, sqrt

import numpy as np
from numpy.typing import ArrayLike

from .stats import Comparison
from .variance import Array, SeedNoise, arm_means, half_width, p_value, pooled, sample_variance, seed_variance


def loss_table(nats: ArrayLike, tokens: ArrayLike) -> Array:
    """The table x of an arm.

    Args:
        nats: (seeds, questions), summed over the tokens of each question's solution.
        tokens: (questions,), the same for all seeds.

    Raises:
        ValueError: a loss is not finite, or there is no token.
    """
    table, counts = np.atleast_2d(np.asarray(nats, dtype=float)), np.asarray(tokens, dtype=float)
    total = fsum(counts.tolist())
    if not total or not np.isfinite(table).all():
        raise ValueError("expected finite losses of at least one token")
    ratio = fsum(table.ravel().tolist()) / (len(table) * total)
    return ratio + (table - ratio * counts) / (total / len(counts))


def loss_noise(tables: Iterable[Array]) -> SeedNoise:
    """How much losses vary with the seeds, pooled over the tables of many arms by degrees of freedom."""
    return pooled(arm_means(table).noise for table in tables)


def loss_over_seeds(table: Array, family: SeedNoise | None = None) -> tuple[float, float | None]:
    """An arm's loss and its standard error over questions and seeds, nats a token.

    For one seed without `family` the error is that over the questions alone.

    Args:
        table: `loss_table` of the arm.
        family: `loss_noise` of all arms.

    Returns:
        (loss, stderr); stderr is None for a single question.
    """
    arm = arm_means(table)
    n = len(arm.questions)
    if n < 2:
        return arm.mean, None
    S, _ = seed_variance([arm], family)
    return arm.mean, sqrt(sample_variance(arm.questions) / n + S)


def compare_losses(
    a: Array, b: Array, family: SeedNoise | None = None, varies: tuple[bool, bool] = (True, True)
) -> Comparison:
    """Arm A less arm B, nats a token, paired on their questions; their seeds are independent, and may differ in number.

    V is that of the differences x_A - x_B, with n - 1 degrees of freedom; S is the sum over both arms, as in
    `stats.compare`, whose arguments `family` and `varies` are. For one seed each without `family` the interval and p
    are those of a paired t test: they hold for those two runs, and not for the two methods.

    Args:
        a, b: `loss_table`s over the same questions, with the same tokens.

    Raises:
        ValueError: the tables differ in questions, or have fewer than two.
    """
    if a.shape[1] != b.shape[1] or a.shape[1] < 2:
        raise ValueError(f"tables of {a.shape[1]} and {b.shape[1]} questions; expected the same questions, two or more")
    arms = [arm_means(a), arm_means(b)]
    d = arms[0].questions - arms[1].questions
    n, difference = len(d), arms[0].mean - arms[1].mean
    V = sample_variance(d) / n
    S, df = seed_variance([arm for arm, trained in zip(arms, varies, strict=True) if trained], family)
    half = half_width(V, S, df, question_df=n - 1)
    p = p_value(abs(difference), V, S, df, question_df=n - 1)
    return Comparison(difference, sqrt(V + S), difference - half, difference + half, p, n, sample_variance(d))
