"""The error that a comparison would have with other seeds and questions, and how many of them decide it.

It is projected from the measured parts, V, E and S of variance.py, for k seeds an arm and n' in place of n questions:

    V(k, n') = V_kinds + sum E_kinds / k + (V_questions + sum E_answers / k) n / n'    sums over both arms
    S(k)     = sum (B - E) / k, and its degrees of freedom grow with the seeds         (seed_noise.py)

E = E_answers + E_kinds is the noise that averaging over k seeds leaves in V: E_answers that of single answers, E_kinds
what seeds that differ in the kinds they get right add to it. V_questions is the variance of independent questions,
spread / n, without E_answers / k; V_kinds is the rest of V: neither more seeds nor more questions of the same kinds
change it.

A comparison counts as decided by so much where one of the two tests of `verdicts.judge` would decide it with a
probability of POWER at least, if the true difference d is the one now estimated:

    |d| >= half(1 - level) + z stderr                it is shown to be better or worse
    d + margin >= half(1 - 2 level) + z stderr       it is shown to be no worse

z is that of POWER (power.py), and level that of the first step of Holm's correction: the family's over its size, and
where a plan looks after every seed, the share of that look. Later steps are easier, so this asks for rather too much.
An arm that seems to vary more than the others, by chance of its few seeds, is projected to go on so. The estimated
difference is uncertain itself: where the truth is nearer to 0, more is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import fsum, inf

import numpy as np

from .arms import Arm
from .comparisons import POWER
from .error import Error
from .power import detectable
from .seed_noise import seed_error
from .stats import Comparison
from .variance import ArmMeans, SeedNoise, score_means, score_table
from .verdicts import LEVEL, share_of_level

MOST_SEEDS = 20
DOUBLINGS = 40  # of the number of questions, after which no number is said to do

Seeds = tuple[int, int]  # of either arm


@dataclass(frozen=True)
class Measured:
    """A comparison of accuracies with the parts of its error, from which that of more seeds or questions follows."""

    comparison: Comparison
    arms: tuple[ArmMeans, ArmMeans]
    varies: tuple[bool, bool]  # whether another seed would give another arm
    pool: SeedNoise

    @property
    def seeds(self) -> Seeds:
        return self.arms[0].seeds, self.arms[1].seeds

    def with_seeds(self, k: int) -> Seeds:
        """The seeds of either arm where each has k; one that has more keeps them, and one without seeds its run."""
        a, b = (max(arm.seeds, k) if varies else arm.seeds for arm, varies in zip(self.arms, self.varies, strict=True))
        return a, b


def projected(pair: Measured, seeds: Seeds, questions: float) -> Error:
    """The error that a comparison would have with other numbers of seeds and questions.

    Args:
        seeds: of either arm; at least two of one that varies.
        questions: of the kinds that there are; may be inf.
    """
    error, n = pair.comparison.error, pair.comparison.questions
    answers = _mean_over_seeds([arm.noise.of_answers for arm in pair.arms], pair.seeds, seeds)
    kinds = _mean_over_seeds([arm.noise.of_kinds for arm in pair.arms], pair.seeds, seeds)
    left = error.questions  # V, of which each part takes what is left for it
    of_answers = min(left, answers[0])
    left -= of_answers
    of_kind_noise = min(left, kinds[0])
    left -= of_kind_noise
    independent = left if error.question_df == inf else min(left, max(0.0, pair.comparison.spread / n - of_answers))
    of_kinds = left - independent
    of_answers *= answers[1] / answers[0] if answers[0] else 1
    of_kind_noise *= kinds[1] / kinds[0] if kinds[0] else 1
    share, more = n / questions, sum(seeds) - sum(pair.seeds)
    arms = [
        replace(arm, deviations=np.zeros(k), noise=_projected_noise(arm.noise, k - arm.seeds, share))
        for arm, k, varies in zip(pair.arms, seeds, pair.varies, strict=True)
        if varies
    ]
    seed_part = seed_error(arms, _projected_noise(pair.pool, more, share))
    V = of_kinds + of_kind_noise + (independent + of_answers) * share
    return Error(V, seed_part, error.question_df)


def _mean_over_seeds(noise: Sequence[float], now: Seeds, then: Seeds) -> tuple[float, float]:
    """What the noise of either arm adds to a difference of means over so many seeds, now and then."""
    of_now, of_then = (fsum(one / k for one, k in zip(noise, seeds, strict=True)) for seeds in (now, then))
    return of_now, of_then


def _projected_noise(noise: SeedNoise, more_seeds: int, share: float) -> SeedNoise:
    """What a table of more seeds would say of B and E; nothing where this one says nothing.

    Args:
        share: of the questions now among those then, on which E_answers depends.
    """
    if not noise.df:
        return noise
    share = max(share, 1e-9)  # without any noise an arm would count as one that seeds do not change
    less = (1 - share) * noise.of_answers
    variance = max(0.0, noise.variance - less)
    return replace(noise, variance=variance, chance=noise.chance - less, df=noise.df + more_seeds)


def decides(difference: float, error: Error, level: float, margin: float | None) -> bool:
    """Whether a true difference would be shown to be one, or to be no worse than the margin, with a power of POWER.

    Args:
        difference: positive where the arm is better than the reference.
        level: of either test.
        margin: in the unit of the difference; None where no arm may be called no worse.
    """
    shown = abs(difference) >= detectable(error, level, POWER)
    if shown or margin is None:
        return shown
    return difference + margin >= detectable(error, 2 * level, POWER)


@dataclass(frozen=True)
class Rule:
    """What a comparison is held to."""

    margin: float | None  # in units of accuracy; None where no arm may be called no worse
    family: int  # comparisons
    every_seed: bool  # whether every new seed is looked at

    def level(self, pair: Measured, seeds: Seeds) -> float:
        if not self.every_seed:
            return LEVEL / self.family
        a, b = (k if varies else 2 for k, varies in zip(seeds, pair.varies, strict=True))
        return LEVEL / self.family * share_of_level(a, b)

    def decided_by(self, pair: Measured, seeds: Seeds, questions: float) -> bool:
        error = projected(pair, seeds, questions)
        return decides(pair.comparison.centre, error, self.level(pair, seeds), self.margin)


def seeds_that_decide(pair: Measured, rule: Rule) -> int | None:
    """The fewest seeds an arm, above those that there are, that decide a comparison; None where MOST_SEEDS do not."""
    own = [arm.seeds for arm, varies in zip(pair.arms, pair.varies, strict=True) if varies]
    counts = range(min(own) + 1, MOST_SEEDS + 1) if own else ()
    n = pair.comparison.questions
    return next((k for k in counts if rule.decided_by(pair, pair.with_seeds(k), n)), None)


def questions_that_decide(pair: Measured, rule: Rule) -> int | None:
    """The fewest questions that decide a comparison at the seeds it has; None where no number does."""

    def enough(n: float) -> bool:
        return rule.decided_by(pair, pair.seeds, n)

    if not enough(inf):
        return None
    few = pair.comparison.questions
    many = next((many for i in range(1, DOUBLINGS) if enough(many := few * 2**i)), None)
    return None if many is None else _first(few, many, enough)


def _first(low: int, high: int, enough: Callable[[float], bool]) -> int:
    """The lowest number above low that is enough, where high is, and all above it are."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def measured(comparison: Comparison, arm: Arm, reference: Arm, pool: SeedNoise) -> Measured:
    """A comparison of two arms with the parts of its error."""
    a, b = (score_means(score_table(each.scores), arm.kinds) for each in (arm, reference))
    return Measured(comparison, (a, b), (arm.trained_on_seeds, reference.trained_on_seeds), pool)
