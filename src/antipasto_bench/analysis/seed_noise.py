"""What seeds add to the error of an arm, from its own seeds and from those of all arms.

Three seeds of one arm say so little of S that only arms far apart would be separated; all arms of a table together say
enough, if they vary alike. Some vary more, so:

- The pool's B is a Huber estimate over arms (Huber & Ronchetti, Robust Statistics, 2nd ed. 2009, ch. 5): each arm's B,
  in units of the pool's, counts up to the 80 % quantile of chi^2_f / f, so that a few loud arms move it little. It is
  consistent where all arms vary alike. With fewer than four arms it is the mean by degrees of freedom.
- Where the own B of an arm, or of a pair together, exceeds the pool's, it counts in the pool's place, with its own
  degrees of freedom (k - 1; of a pair Welch's and Satterthwaite's).
- An arm that varies far more than the others can hide: of two seeds with a variance 30 times the pool's, one pair in
  seven differs by no more than the pool's. So an arm that has the pool's B has, with a probability of
  w = share x P(chi^2_f / f <= 1 / r), r times that. (1 + the arms that show it) / arms is the share; r is the variance
  ratio at which 3 % of arms hide, 30 at most: 30 with three seeds, 8 with five. It stops at an arm whose accuracy has a
  standard deviation of 8 points, or at the loudest arm that is there. A single seed has the pool's B alone:
  it shows nothing that could be luck, and nothing is concluded on it.
- An arm near 0 or 100 % has less room to vary: the pool's B is multiplied by p (1 - p) / 0.09 where that is below 1.
- An arm whose seeds answered every question alike does not vary.

How often intervals then hold the truth, and how often equal arms are called different, with equal and unequal
variances, is simulated in tests/bench/analysis/test_simulated_tables.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum, inf

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # type: ignore[import-untyped]

from .variance import ArmMeans, Kinds, SeedNoise, score_means, score_table

FEWEST = 4  # arms with two seeds or more, for a robust estimate
CLIPPED = 0.2  # of arms that vary alike
EXCEEDS = 1.3
LUCK = 0.03  # the share of loud arms that vary no more than the pool's
LOUDEST = 30.0  # times the pool's variance: 5.5 times its standard deviation
LOUDEST_ACCURACY = 0.08  # standard deviation over seeds, where no arm of a table shows a larger one
SHOWN = 0.01  # of arms that vary alike would be called loud


@dataclass(frozen=True)
class SeedPart:
    """A part of the seeds' variance."""

    variance: float  # S
    df: float


@dataclass(frozen=True)
class SeedError:
    """What seeds add to the variance of a mean, or of a difference between two."""

    parts: tuple[SeedPart, ...]  # none where nothing is known of seeds, or nothing varies
    hidden: float = 0.0  # w: the probability that S is `loud` in place of the parts
    loud: float = 0.0

    @property
    def known(self) -> bool:
        return bool(self.parts)


def seed_noise(tables: Iterable[ArrayLike], kinds: Kinds = None) -> SeedNoise:
    """How much accuracies vary with their seeds, pooled over the tables of scores of many arms.

    Args:
        kinds: of the questions, which are those of every table.

    Raises:
        ValueError: an arm has no score, or one is not 0, 1 or nan.
    """
    return pooled((score_means(score_table(table), kinds) for table in tables), LOUDEST_ACCURACY**2)


def pooled(arms: Iterable[ArmMeans], loudest: float = inf) -> SeedNoise:
    """The noise of many arms; one with a single seed, or whose seeds answered alike, says nothing.

    Args:
        loudest: the largest variance of seeds that is thought of before any is measured, noise left out.
    """
    known = [arm for arm in arms if arm.noise.df and not arm.settled]
    if not known:
        return SeedNoise(0.0, 0.0, 0.0)
    df = np.array([arm.noise.df for arm in known])
    B = np.array([arm.noise.variance / arm.room for arm in known])
    chance, of_kinds = (
        fsum((df * [part / arm.room for part, arm in zip(parts, known, strict=True)]).tolist()) / fsum(df.tolist())
        for parts in ([arm.noise.chance for arm in known], [arm.noise.of_kinds for arm in known])
    )
    loudest = max(loudest + chance, float(B.max()))
    if len(known) < FEWEST or not B.any():
        alone = len(known) == 1  # there is nothing to be louder than
        hidden = 0.0 if alone else 1 / len(known)
        return SeedNoise(
            fsum((df * B).tolist()) / fsum(df.tolist()), chance, fsum(df.tolist()), hidden, loudest, of_kinds
        )
    variance, pool_df = _huber(B, df)
    loud = int((special.fdtrc(df, pool_df, B / variance) < SHOWN).sum())
    return SeedNoise(variance, chance, pool_df, (1 + loud) / len(known), loudest, of_kinds)


def _huber(B: np.ndarray, df: np.ndarray) -> tuple[float, float]:
    """The s at which sum f min(B/s, c) is what it is expected to be, and the degrees of freedom of s."""
    c = special.chdtri(df, CLIPPED) / df
    below, above = special.chdtr(df + 2, df * c), special.chdtrc(df, df * c)
    expected = below + c * above
    square = (df + 2) / df * special.chdtr(df + 4, df * c) + c * c * above
    low, high = 0.0, float((B / expected).max())  # the sum falls as s rises
    for _ in range(100):
        s = (low + high) / 2
        excess = fsum((df * (np.minimum(B / s, c) - expected)).tolist())
        low, high = (s, high) if excess > 0 else (low, s)
    relative = fsum((df**2 * (square - expected**2)).tolist()) / fsum((df * below).tolist()) ** 2
    return high, 2 / relative


def seed_error(arms: Sequence[ArmMeans], pool: SeedNoise | None) -> SeedError:
    """What seeds add to the mean of one arm, or to the difference between two.

    Args:
        arms: that were trained with seeds; of a difference, both, or the one.
        pool: of all arms of the table. Where it is None or knows nothing, an arm has its own B, and one with a single
            seed that of the other.
    """
    arms = [arm for arm in arms if not arm.settled]
    if pool is None or not pool.df:
        known = [arm for arm in arms if arm.noise.df]
        if not known:
            return SeedError(())
        scale = fsum(1 / arm.seeds for arm in arms)
        weights = [1 / arm.seeds for arm in known] if len(known) == len(arms) else [scale] * len(known)
        return SeedError((_own(known, weights),))
    pool_part = max(0.0, pool.variance - pool.chance / (1 + 1 / pool.df))
    known = [arm for arm in arms if arm.noise.df]
    beyond = fsum((_excess(arm.noise) - EXCEEDS * _excess(pool) * arm.room) / arm.seeds for arm in known)
    own = known if beyond > 0 else []
    borrowed = [arm for arm in arms if not (own and arm.noise.df)]
    parts = [_own(own, [1 / arm.seeds for arm in own])] if own else []
    scale = fsum(arm.room / arm.seeds for arm in borrowed)
    if borrowed:
        parts.append(SeedPart(scale * pool_part, pool.df))
    hiding = [(arm, _loudness(arm.noise.df, pool)) for arm in borrowed if arm.noise.df]
    hidden = fsum(pool.hidden * _quiet(arm.noise.df, ratio) for arm, ratio in hiding)
    loud = fsum(ratio * arm.room / arm.seeds for arm, ratio in hiding)
    return SeedError(tuple(parts), min(1.0, hidden), loud * max(pool.variance, pool.chance))


def _excess(noise: SeedNoise) -> float:
    return noise.variance - noise.chance


def _own(arms: Sequence[ArmMeans], weights: Sequence[float]) -> SeedPart:
    """S of some arms from their own seeds; f by Welch and Satterthwaite."""
    squares = [weight * arm.noise.variance for weight, arm in zip(weights, arms, strict=True)]
    chance = fsum(weight * arm.noise.chance for weight, arm in zip(weights, arms, strict=True))
    below = fsum(part**2 / arm.noise.df for part, arm in zip(squares, arms, strict=True))
    df = fsum(squares) ** 2 / below if below else fsum(arm.noise.df for arm in arms)
    return SeedPart(max(0.0, fsum(squares) - chance / (1 + 1 / df)), df)


def _loudness(df: float, pool: SeedNoise) -> float:
    """The r of an arm that hides: one with more seeds hides less easily."""
    quiet = max(pool.variance, pool.chance)  # seeds that chance to agree differ by the noise of answers all the same
    most = max(1.0, pool.loudest / quiet) if quiet else LOUDEST
    return min(LOUDEST, most, df / float(special.chdtri(df, 1 - LUCK)))


def _quiet(df: float, ratio: float) -> float:
    """The probability that seeds of `ratio` times the pool's variance vary no more than the pool's."""
    return float(special.chdtr(df, df / ratio))
