"""What more seeds, or more questions, would decide the comparisons that a table leaves undecided.

The error of a comparison is projected from its measured parts, V and S of variance.py, for k seeds an arm and n' in
place of n questions:

    V(k, n') = V_kinds + (V_questions + sum over both arms of E / k) n / n'
    S(k)     = sum over both arms of (B - E) / k, and its degrees of freedom grow with the seeds (seed_noise.py)

V_kinds is what V has beyond the variance of independent questions: more questions of the same kinds leave it as it is.
E / k is the noise that averaging over k seeds leaves in the mean of each question.

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

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import fsum, inf, sqrt
from statistics import median

import numpy as np

from ..store.durations import mean_seconds
from .arms import Arm
from .compared_sections import ComparedSection
from .comparisons import POWER
from .error import Error
from .power import detectable
from .seed_noise import seed_error
from .stats import Comparison
from .variance import ArmMeans, SeedNoise, score_means, score_table
from .verdicts import LEVEL, Verdict, share_of_level

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
    of_kinds = max(0.0, error.questions - pair.comparison.spread / n) if error.question_df < inf else 0.0
    independent = error.questions - of_kinds
    now, then = (
        fsum(arm.noise.chance / k for arm, k in zip(pair.arms, counts, strict=True)) for counts in (pair.seeds, seeds)
    )
    noise = min(independent, now)
    settled = independent - noise + (noise * then / now if now else 0.0)
    share, more = n / questions, sum(seeds) - sum(pair.seeds)
    arms = [
        replace(arm, deviations=np.zeros(k), noise=_projected_noise(arm.noise, k - arm.seeds, share))
        for arm, k, varies in zip(pair.arms, seeds, pair.varies, strict=True)
        if varies
    ]
    seed_part = seed_error(arms, _projected_noise(pair.pool, more, share))
    return Error(of_kinds + settled * share, seed_part, error.question_df)


def _projected_noise(noise: SeedNoise, more_seeds: int, share: float) -> SeedNoise:
    """What a table of more seeds would say of B and E; nothing where this one says nothing.

    Args:
        share: of the questions now among those then, on which E depends.
    """
    if not noise.df:
        return noise
    share = max(share, 1e-9)  # without any noise an arm would count as one that seeds do not change
    variance = max(0.0, noise.variance - (1 - share) * noise.chance)
    return replace(noise, variance=variance, chance=share * noise.chance, df=noise.df + more_seeds)


def decides(difference: float, error: Error, level: float, margin: float) -> bool:
    """Whether a true difference would be shown to be one, or to be no worse than the margin, with a power of POWER.

    Args:
        difference: positive where the arm is better than the reference.
        level: of either test.
        margin: in the unit of the difference.
    """
    shown = abs(difference) >= detectable(error, level, POWER)
    return shown or difference + margin >= detectable(error, 2 * level, POWER)


@dataclass(frozen=True)
class Rule:
    """What a comparison is held to."""

    margin: float  # in units of accuracy
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


# ------------------------------------------------------------------ of a table


@dataclass(frozen=True)
class Undecided:
    """An arm that the data leave undecided, and what would decide it."""

    arm: Arm
    reference: Arm
    verdict: Verdict  # on accuracy
    loss: Verdict | None  # on the held-out loss
    pair: Measured
    seeds: int | None  # that each of both would have
    questions: int | None

    @property
    def runs(self) -> Seeds:
        """How many runs of the arm and of its reference would decide it; none where no number of seeds does."""
        if self.seeds is None:
            return 0, 0
        a, b = (then - now for then, now in zip(self.pair.with_seeds(self.seeds), self.pair.seeds, strict=True))
        return a, b

    @property
    def seconds(self) -> float | None:
        """Of those runs, one after another; None where it is not known how long they take."""
        return _seconds(zip((self.arm, self.reference), self.runs, strict=True))

    @property
    def from_seeds(self) -> float:
        """The standard error that seeds alone would leave, in units of accuracy."""
        return sqrt(fsum(part.variance for part in self.verdict.comparison.error.seeds.parts))

    @property
    def from_questions(self) -> float:
        return sqrt(self.verdict.comparison.error.questions)


@dataclass(frozen=True)
class More:
    """What more would decide in a table."""

    section: ComparedSection
    undecided: list[Undecided]  # in the order of the table

    @cached_property
    def runs(self) -> list[tuple[Arm, int]]:
        """Arms with how many more runs of each would decide all that seeds decide; those of a reference come once."""
        reference = max((each.runs[1] for each in self.undecided), default=0)
        of_arms = [(each.arm, each.runs[0]) for each in self.undecided if each.runs[0]]
        return [*([(self.undecided[0].reference, reference)] if reference else []), *of_arms]

    @property
    def seconds(self) -> float | None:
        """Of those runs, one after another; None where it is not known how long they take."""
        return _seconds(self.runs)


def _seconds(runs: Iterable[tuple[Arm, int]]) -> float | None:
    """Of so many runs of some arms, one after another; None where there are none, or it is not known."""
    parts = [k * (mean_seconds(arm.records) or inf) for arm, k in runs if k]
    total = fsum(parts)
    return total if parts and total < inf else None


def plan_more(section: ComparedSection, asked: Collection[str] | None = None) -> More:
    """What would decide each arm of a table that is undecided against the reference, by accuracy.

    Args:
        asked: ids of runs; only arms that have one of them. Every arm where None.
    """
    pairs, reference = section.accuracy, section.reference
    if pairs is None or reference is None:
        return More(section, [])
    arms, plan = section.section.arms, section.plan
    rule = Rule(plan.margin / 100, max(1, len(section.verdicts)), plan.looks == "every seed")
    undecided = []
    for i, verdict in sorted(section.verdicts.items()):
        is_asked = asked is None or any(record.run_id in asked for record in arms[i].records)
        if verdict.word == "undecided" and is_asked:
            pair = measured(verdict.comparison, arms[i], arms[reference], pairs.noise)
            needed = seeds_that_decide(pair, rule), questions_that_decide(pair, rule)
            loss = section.loss_verdicts.get(i)
            undecided.append(Undecided(arms[i], arms[reference], verdict, loss, pair, *needed))
    return More(section, undecided)


def measured(comparison: Comparison, arm: Arm, reference: Arm, pool: SeedNoise) -> Measured:
    """A comparison of two arms with the parts of its error."""
    a, b = (score_means(score_table(each.scores)) for each in (arm, reference))
    return Measured(comparison, (a, b), (arm.trained_on_seeds, reference.trained_on_seeds), pool)


# ------------------------------------------------------------------ in words


def where_noise_comes_from(undecided: Sequence[Undecided]) -> str | None:
    """A sentence on what keeps arms undecided, seeds or questions, and which of them cannot help.

    None where nothing is undecided, or where it is not known what seeds add.
    """
    known = [each for each in undecided if each.pair.comparison.error.seeds.known]
    if not known:
        return None
    reference = known[0].reference.name
    of_seeds, of_questions = (
        median(100 * value for value in values)
        for values in ([each.from_seeds for each in known], [each.from_questions for each in known])
    )
    who = known[0].arm.name if len(known) == 1 else f"the {len(known)} arms that are undecided"
    parts = f"{of_seeds:.1f} points come from seeds and {of_questions:.1f} from questions"
    median_of = "" if len(known) == 1 else ", at the median"
    return f"Between {reference} and {who} {parts} (one standard error{median_of}){_what_cannot_help(known)}."


def _what_cannot_help(undecided: Sequence[Undecided]) -> str:
    by_seeds = any(each.seeds is not None for each in undecided)
    by_questions = any(each.questions is not None for each in undecided)
    if by_seeds and by_questions:
        return ""
    if by_seeds:
        return ", so more questions do not help"
    seeds = f"up to {MOST_SEEDS} seeds an arm"
    return f", so {seeds} do not help" if by_questions else f", and neither {seeds} nor more questions decide it"


def loss_says(each: Undecided) -> str:
    """What the held-out loss says of an arm whose accuracy is undecided."""
    if each.loss is None:
        return "no held-out loss to go by"
    words = {
        "better": "its held-out loss is better",
        "worse": "its held-out loss is worse",
        "no worse": "its held-out loss is no worse",
        "undecided": "its held-out loss is undecided, too",
    }
    return f"{words[each.loss.word]} ({each.loss.comparison.difference:+.4f} nats a token)"
