"""Which arms the data tell apart: those of a plan, each against the reference, and all pairs as exploration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import combinations
from statistics import median

from .arms import Arm, different_questions
from .losses import compare_loss_means, loss_table
from .multiplicity import holm
from .plan import Plan
from .power import detectable
from .seed_noise import LOUDEST_ACCURACY, pooled
from .stats import Comparison, compare_means
from .variance import SeedNoise, arm_means, score_means, score_table
from .verdicts import LEVEL, Look, Verdict, judge, share_of_level

POWER = 0.8

Pair = tuple[int, int]


class Pairs:
    """The pairs of some arms, by one measure; each pair is compared when it is first asked for.

    Args:
        arms: in the order of their table.
        compared: gives arm i less arm j.
        concluded: pairs of indices, i < j, that conclusions are drawn on together; all pairs of conclusive arms where
            None.
        at_first: gives the same pairs by the first k seeds of each arm.
    """

    def __init__(
        self,
        arms: Sequence[Arm],
        compared: Callable[[int, int], Comparison],
        noise: SeedNoise,
        sign: int,
        concluded: Sequence[Pair] | None = None,
        at_first: Callable[[int], Pairs | None] | None = None,
    ) -> None:
        self.arms, self.noise, self.sign = arms, noise, sign
        self._compared, self._known = compared, dict[Pair, Comparison]()
        self._concluded, self._at_first = concluded, at_first

    def __getitem__(self, pair: Pair) -> Comparison:
        """Arm i less arm j, in either order."""
        i, j = pair
        if pair not in self._known:
            self._known[pair] = self[j, i].reversed() if i > j else self._compared(i, j)
        return self._known[pair]

    @cached_property
    def conclusive(self) -> list[Pair]:
        """The pairs on which conclusions may be drawn."""
        pairs = combinations(range(len(self.arms)), 2) if self._concluded is None else self._concluded
        return [(i, j) for i, j in pairs if self.arms[i].conclusive and self.arms[j].conclusive]

    @property
    def members(self) -> list[int]:
        """The arms on which conclusions may be drawn."""
        return sorted({i for pair in self.conclusive for i in pair})

    @cached_property
    def p(self) -> dict[Pair, float]:
        """Of the conclusive pairs, i < j; corrected for how many there are."""
        corrected = holm([self[pair].p for pair in self.conclusive]).tolist() if self.conclusive else []
        return dict(zip(self.conclusive, corrected, strict=True))

    def separated(self, i: int, j: int) -> bool:
        return self.p.get((min(i, j), max(i, j)), 1.0) < LEVEL

    def separated_pairs(self) -> list[Pair]:
        return [pair for pair in self.p if self.separated(*pair)]

    @cached_property
    def ranks(self) -> list[tuple[int, int] | None]:
        """The ranks that each arm may have among those that may be concluded on; None for the others.

        1 + how many arms are certainly better, to how many there are less those that are certainly worse. All hold
        together at 95 % (from the pairs, each of which holds; Mohamad, van Zwet, Solari & Goeman, 2021).
        """
        members = self.members
        ranges: list[tuple[int, int] | None] = [None] * len(self.arms)
        for i in members:
            apart = [self.sign * self[i, j].centre for j in members if j != i and self.separated(i, j)]
            ranges[i] = 1 + sum(gain < 0 for gain in apart), len(members) - sum(gain > 0 for gain in apart)
        return ranges

    @cached_property
    def smallest(self) -> float | None:
        """The smallest true difference that the median pair would have shown; None where nothing may be concluded."""
        if not self.conclusive:
            return None
        found = [detectable(self[pair].error, LEVEL / len(self.conclusive), POWER) for pair in self.conclusive]
        return median(found) if all(value >= 0 for value in found) else None  # one question: nan

    def against(self, reference: int, plan: Plan) -> dict[int, Verdict]:
        """The planned family: every arm that may be concluded on against the reference."""
        members = [i for i in self.members if i != reference]
        if reference not in self.members:
            return {}
        family = {i: self[i, reference] for i in members}
        looks = self._looks(members, reference) if plan.looks == "every seed" else None
        shown = self.margin_is_small(reference, plan)
        return judge(family, self._margin(plan), self.sign, looks, margin_is_small=shown)

    def _margin(self, plan: Plan) -> float:
        return plan.margin / 100 if self.sign > 0 else plan.loss_margin

    def margin_is_small(self, reference: int, plan: Plan) -> bool:
        """Whether the reference is surely better than the untuned model by more than the margin.

        Where it is not, a method that learns nothing could be called no worse than the reference: being no worse shows
        something only where the margin is smaller than what the reference itself gains (assay sensitivity; ICH E10,
        Choice of Control Group in Clinical Trials, 2000). Where no untuned model was scored it is not known, and taken
        to be so; likewise where it is the reference.
        """
        if self.arms[reference].untuned:
            return True
        untuned = [self[reference, i] for i in self.members if self.arms[i].untuned]
        gains = [pair if self.sign > 0 else pair.reversed() for pair in untuned]
        return all(gain.low > self._margin(plan) for gain in gains)

    def _looks(self, members: Sequence[int], reference: int) -> dict[int, list[Look]]:
        """Every look at each pair, as a sweep that goes on seed by seed has taken them.

        The k-th is by the first k seeds of every arm, of the pair as of those that its noise is pooled from; an arm
        with fewer has all of its own. So the looks of a table are those of each earlier one, and more.
        """
        seeds = [arm.seeds if arm.trained_on_seeds else 2 for arm in self.arms]
        looks: dict[int, list[Look]] = {i: [] for i in members}
        for k in range(2, max(seeds[i] for i in [*members, reference]) + 1):
            then = self if k >= max(seeds) or self._at_first is None else self._at_first(k)
            for i in members:
                if then is not None and k <= max(seeds[i], seeds[reference]):
                    share = share_of_level(min(k, seeds[i]), min(k, seeds[reference]))
                    looks[i].append(Look(then[i, reference], share))
        return looks


def comparable(arms: Sequence[Arm]) -> bool:
    """Whether every question was right or wrong, and was put to all of the arms."""
    return all(arm.binary for arm in arms) and len({arm.questions for arm in arms}) == 1


def unpaired(arms: Sequence[Arm]) -> str | None:
    """Why arms cannot be paired question by question, naming two of their runs; None where they can."""
    pairs = ((arms[0].first.run_id, arms[0].questions, arm.first.run_id, arm.questions) for arm in arms)
    return next((problem for pair in pairs if (problem := different_questions(*pair)) is not None), None)


def accuracy_pairs(
    arms: Sequence[Arm],
    concluded: Sequence[Pair] | None = None,
    noise: SeedNoise | None = None,
    first: int | None = None,
) -> Pairs:
    """Arms compared by accuracy on the questions that they share.

    Args:
        concluded: see `Pairs`.
        noise: how much runs vary with their seeds, where it is known from more arms than these.
        first: by how many of each arm's seeds, from the lowest; by all of them where None.

    Raises:
        ValueError: a score is neither right nor wrong.
    """
    rows = [arm.rows(first) for arm in arms]
    means = [score_means(score_table(arm.scores[own]), arms[0].kinds) for arm, own in zip(arms, rows, strict=True)]
    # A run that diverged makes an arm louder than seeds make any: it says nothing of the others' noise.
    whole = (arm.trained_on_seeds and int(own.max()) < len(arm.records) for arm, own in zip(arms, rows, strict=True))
    trained = (own for own, counts in zip(means, whole, strict=True) if counts)
    pool = noise or pooled(trained, LOUDEST_ACCURACY**2)

    def compared(i: int, j: int) -> Comparison:
        return compare_means((means[i], means[j]), pool, (arms[i].trained_on_seeds, arms[j].trained_on_seeds))

    def at_first(k: int) -> Pairs:
        return accuracy_pairs(arms, concluded, noise, k)

    return Pairs(arms, compared, pool, sign=1, concluded=concluded, at_first=at_first)


def loss_pairs(arms: Sequence[Arm], noise: SeedNoise | None = None, first: int | None = None) -> Pairs | None:
    """Arms compared by held-out loss, each pair on the same tokens; None where fewer than two arms have losses of them.

    An arm without losses, or with losses of other tokens than the first has, is in no pair.

    Args:
        noise, first: as in `accuracy_pairs`.
    """
    losses = [arm.losses for arm in arms]
    one = next((own for own in losses if own is not None), None)
    if one is None or len(one.tokens) < 2:
        return None
    means = {
        i: arm_means(loss_table(own.nats[arms[i].rows(first)], own.tokens), arms[i].loss_kinds)
        for i, own in enumerate(losses)
        if own is not None and own.paired_with(one)
    }
    if len(means) < 2:
        return None
    pool = noise or pooled(own for i, own in means.items() if arms[i].trained_on_seeds)

    def compared(i: int, j: int) -> Comparison:
        return compare_loss_means((means[i], means[j]), pool, (arms[i].trained_on_seeds, arms[j].trained_on_seeds))

    def at_first(k: int) -> Pairs | None:
        return loss_pairs(arms, noise, k)

    return Pairs(arms, compared, pool, sign=-1, concluded=[*combinations(sorted(means), 2)], at_first=at_first)
