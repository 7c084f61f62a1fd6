"""Losses with standard errors, and differences between arms with p values: as `stats.py` has them for accuracies.

A table of losses is (seeds, questions), in nats a token, each completion token of the same weight. With l_sq nats of
seed s on question q, whose solution has t_q tokens, t their mean and R the arm's loss over all seeds and questions:

    x_sq = R + (l_sq - R t_q) / t

Its mean is R, and the mean of a row is that seed's own loss. R is a ratio of two sums that vary with the questions, and
x is that ratio, linearised (Cochran, Sampling Techniques, 3rd ed. 1977, section 2.11): the variance of x over questions
is that of the ratio. What V, B, E, S and f are: see variance.py.
"""

from __future__ import annotations

from math import fsum, inf

import numpy as np
from numpy.typing import ArrayLike

from .error import Error
from .seed_noise import SeedError, seed_error
from .stats import Comparison
from .variance import ArmMeans, Array, Kinds, SeedNoise, arm_means, difference_variance, question_variance


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


def loss_over_seeds(
    table: Array, pool: SeedNoise | None = None, varies: bool = True, kinds: Kinds = None
) -> tuple[float, float | None]:
    """An arm's loss and its standard error over questions and seeds, nats a token.

    For one seed without a pool the error is that over the questions alone.

    Args:
        table: `loss_table` of the arm.
        pool: the noise of all arms of the table, `seed_noise.pooled`.
        varies, kinds: as in `stats.summarise`.

    Returns:
        (loss, stderr); stderr is None for a single question.
    """
    arm = arm_means(table, kinds)
    if len(arm.questions) < 2:
        return arm.mean, None
    V, _ = question_variance(arm.questions, arm.kinds)
    return arm.mean, Error(V, seed_error([arm], pool) if varies else SeedError(())).stderr


def compare_losses(
    a: Array,
    b: Array,
    pool: SeedNoise | None = None,
    varies: tuple[bool, bool] = (True, True),
    kinds: Kinds = None,
) -> Comparison:
    """Arm A less arm B, nats a token, paired on their questions; their seeds are independent, and may differ in number.

    V is that of the differences x_A - x_B, with n - 1 degrees of freedom; S is the sum over both arms, as in
    `stats.compare`, whose arguments these are. For one seed each without a pool the interval and p are those of a
    paired t test: they hold for those two runs, and not for the two methods.

    Args:
        a, b: `loss_table`s over the same questions, with the same tokens.

    Raises:
        ValueError: the tables differ in questions, or have fewer than two.
    """
    if a.shape[1] != b.shape[1] or a.shape[1] < 2:
        raise ValueError(f"tables of {a.shape[1]} and {b.shape[1]} questions; expected the same questions, two or more")
    return compare_loss_means((arm_means(a, kinds), arm_means(b, kinds)), pool, varies)


def compare_loss_means(
    arms: tuple[ArmMeans, ArmMeans], pool: SeedNoise | None, varies: tuple[bool, bool]
) -> Comparison:
    """`compare_losses` of the `arm_means` of two tables with the same questions, two or more, and kinds."""
    d = arms[0].questions - arms[1].questions
    mean = fsum(d.tolist()) / len(d)
    V, question_df = difference_variance(*arms, mean)
    seeds = seed_error([arm for arm, trained in zip(arms, varies, strict=True) if trained], pool)
    error = Error(V, seeds, min(question_df, len(d) - 1.0))
    difference = arms[0].mean - arms[1].mean
    return Comparison(difference, difference, error, len(d), float(d.var(ddof=1)), bound=inf)
