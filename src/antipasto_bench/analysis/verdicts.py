"""What may be said of each arm of a planned family: better, worse, no worse or undecided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .multiplicity import holm
from .stats import Comparison

LEVEL = 0.05  # of a whole family
Word = Literal["better", "worse", "no worse", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """An arm against the reference of its table."""

    word: Word
    comparison: Comparison  # the arm less the reference, by all their seeds
    p: float  # two-sided, of no difference; corrected for the looks and for the family
    p_no_worse: float  # one-sided, of an arm that is worse by the margin or more; corrected likewise

    @property
    def slightly_worse(self) -> bool:
        """Whether it is both: surely worse, and surely by less than the margin."""
        return self.word == "no worse" and self.p < LEVEL

    @property
    def shown(self) -> str:
        """The word as people see it."""
        return "worse, not by the margin" if self.slightly_worse else self.word


class Look(NamedTuple):
    """A pair as it was, when either arm had fewer seeds or as many as now."""

    comparison: Comparison
    share: float  # of the level, that is spent on it


def share_of_level(seeds: int, other: int) -> float:
    """The share of the level that is spent on a look at a pair, when every new seed is looked at.

    1 / (j (j + 1)) for j = k_a + k_b - 3, which is 1 at the first look, at two seeds each, and grows by one a seed. The
    shares sum to at most 1, so whatever the looks have in common, the level holds over all of them (Bonferroni; a
    spending function in the sense of Lan & DeMets, Biometrika 70, 1983, 659-663).

    Args:
        seeds, other: how many seeds either arm has; two for one that needs none.
    """
    j = max(1, seeds + other - 3)
    return 1 / (j * (j + 1))


def judge(
    family: Mapping[int, Comparison],
    margin: float,
    sign: int = 1,
    looks: Mapping[int, Sequence[Look]] | None = None,
    *,
    margin_is_small: bool = True,
) -> dict[int, Verdict]:
    """The verdict of every arm of a family.

    Each of two families of tests is held to LEVEL by Holm's correction: of no difference, two-sided, and of an arm
    that is worse by the margin or more, one-sided (the half of TOST that says `no worse`; Schuirmann,
    J. Pharmacokinetics and Biopharmaceutics 15, 1987, 657-680).

    Args:
        family: every arm that may be concluded on, less the reference.
        margin: in the unit of the comparisons.
        sign: 1 where more is better, -1 where less is.
        looks: at each arm, where there is more than one. The p of an arm is its lowest over the looks, each divided by
            its share: so what a look decided stands, however later seeds turn out.
        margin_is_small: whether the reference itself is known to be better than no training by more than the margin;
            else no arm is called no worse.
    """
    looks = looks or {arm: [Look(pair, 1.0)] for arm, pair in family.items()}
    towards = {
        arm: [look if sign > 0 else look._replace(comparison=look.comparison.reversed()) for look in looks[arm]]
        for arm in family
    }
    clearest = {arm: min(of_arm, key=lambda look: look.comparison.p / look.share) for arm, of_arm in towards.items()}
    different = _corrected({arm: look.comparison.p / look.share for arm, look in clearest.items()})
    no_worse = _corrected(
        {
            arm: min(look.comparison.p_not_below(-margin) / look.share for look in of_arm)
            for arm, of_arm in towards.items()
        }
    )
    words = {
        arm: _word(clearest[arm].comparison, different[arm], no_worse[arm] if margin_is_small else 1.0)
        for arm in family
    }
    return {arm: Verdict(words[arm], pair, different[arm], no_worse[arm]) for arm, pair in family.items()}


def _corrected(p: Mapping[int, float]) -> dict[int, float]:
    return dict(zip(p, holm([min(1.0, value) for value in p.values()]).tolist(), strict=True)) if p else {}


def _word(towards: Comparison, different: float, no_worse: float) -> Word:
    if different < LEVEL and towards.centre > 0:
        return "better"
    if no_worse < LEVEL:
        return "no worse"
    return "worse" if different < LEVEL else "undecided"
