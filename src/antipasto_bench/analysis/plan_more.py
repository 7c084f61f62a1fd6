"""What more seeds, or more questions, would decide in a table, and what it would cost; see projection.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum, inf, sqrt
from statistics import median

from ..store.durations import mean_seconds
from .arms import Arm
from .compared_sections import ComparedSection
from .projection import MOST_SEEDS, Measured, Rule, Seeds, measured, questions_that_decide, seeds_that_decide
from .verdicts import Verdict


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
    margin = plan.margin / 100 if section.margin_is_small else None
    rule = Rule(margin, max(1, len(section.verdicts)), plan.looks == "every seed")
    undecided = []
    for i, verdict in sorted(section.verdicts.items()):
        is_asked = asked is None or any(record.run_id in asked for record in arms[i].records)
        if verdict.word == "undecided" and is_asked:
            pair = measured(verdict.comparison, arms[i], arms[reference], pairs.noise)
            needed = seeds_that_decide(pair, rule), questions_that_decide(pair, rule)
            loss = section.loss_verdicts.get(i)
            undecided.append(Undecided(arms[i], arms[reference], verdict, loss, pair, *needed))
    return More(section, undecided)


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
    df = known[0].pair.comparison.error.question_df
    kinds = "" if df == inf else f" of {df + 1:.0f} kinds"
    parts = f"{of_seeds:.1f} points come from seeds and {of_questions:.1f} from questions{kinds}"
    median_of = "" if len(known) == 1 else ", at the median"
    return f"Between {reference} and {who} {parts} (one standard error{median_of}){_what_cannot_help(known)}."


def _what_cannot_help(undecided: Sequence[Undecided]) -> str:
    by_seeds = any(each.seeds is not None for each in undecided)
    by_questions = any(each.questions is not None for each in undecided)
    if by_seeds and by_questions:
        return ""
    of_kinds = any(each.pair.comparison.error.question_df < inf for each in undecided)
    questions = "more questions of these kinds" if of_kinds else "more questions"
    if by_seeds:
        return f", so {questions} do not help"
    seeds = f"up to {MOST_SEEDS} seeds an arm"
    return f", so {seeds} do not help" if by_questions else f", and neither {seeds} nor {questions} decide it"


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
