"""Which adapter to use: the arm that the verdicts of a table recommend, its price, and how sure that is, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from ..analysis.compared_sections import ComparedArm, ComparedSection
from ..analysis.plan_more import plan_more
from ..analysis.projection import MOST_SEEDS
from ..analysis.verdicts import Verdict
from ..spec.config import SCORING_VERSION
from ..spec.methods.weights import FULL
from ..store.quantities import quantity
from .columns import signed
from .words import answer, judged

NAMED_ARMS = 2  # in the sentence on what would decide
_PERCENT, _LOSS, _PARAMETERS = quantity("test_accuracy"), quantity("test_loss"), quantity("trained_parameters")


@dataclass(frozen=True)
class Recommended:
    """What a table says to who asks which adapter to use."""

    headline: str
    sentences: list[str]  # the best, the cheapest that is no worse, and what is open
    best: ComparedArm | None = None
    cheapest: ComparedArm | None = None  # None where no cheaper one is shown to be no worse than the reference
    measure: Literal["accuracy", "loss"] = "accuracy"  # that shows the best to be better, or the others to be worse
    adapter: ComparedArm | None = None  # to use where the best is full fine-tuning, which is none
    rests_on_loss: bool = False  # whether the headline would be another without the held-out loss

    @property
    def to_use(self) -> list[ComparedArm]:
        """The arms that the headline tells to use; full fine-tuning last, which is no adapter."""
        if self.cheapest is not None and self.best is not None and self.best.is_reference:
            return [self.cheapest]
        named = [row for row in (self.adapter, self.best, self.cheapest) if row is not None]
        return sorted(named, key=lambda row: row.arm.variant == FULL)


@lru_cache(maxsize=64)  # a report says it of a section in several places
def recommended(section: ComparedSection) -> Recommended:
    """The recommendation that follows from the verdicts of a section, and from nothing else.

    Best is the most accurate of the arms that are better than the reference. Where there is none, it is the one of
    lowest held-out loss among those that are better by it and not worse by accuracy; else the reference. Cheapest is
    the arm of fewest trained parameters, fewer than the best's, that is no worse than the reference by accuracy, or
    where there is none by held-out loss, and worse by neither. One that has no fewer parameters than the reference has
    to be better than it.
    """
    if not section.verdicts or section.reference is None:
        return Recommended(_why_none(section), answer(section))
    reference = section.arms[section.reference]
    if not judged(section):
        return _of_one_arm(section, reference)
    measure: Literal["accuracy", "loss"] = "accuracy"
    better = [row for row in judged(section) if row.verdict is not None and row.verdict.word == "better"]
    better.sort(key=lambda row: (-float(row.arm.scores.mean()), row.index))
    if not better:
        better = [row for row in judged(section) if _by_loss(row, ("better",))]
        better.sort(key=lambda row: (_loss(row), row.index))
        measure = "loss" if better else "accuracy"
    best = better[0] if better else reference
    cheapest, by = _cheapest(section, best, reference)
    loss_alone = cheapest is None and 0 < _undecided(section) == _worse_by_loss(section)
    return Recommended(
        _headline(section, better, cheapest, reference, by),
        [_of_best(section, best, better, measure), _of_cheapest(best, reference, cheapest, by), *_of_open(section)],
        best,
        cheapest,
        "loss" if loss_alone else measure,
        reference if cheapest is None and _only_full(better) else None,
        rests_on_loss=loss_alone or measure == "loss" or (cheapest is not None and by == "held-out loss"),
    )


def _why_none(section: ComparedSection) -> str:
    if section.accuracy is None:
        return "These rows are not compared, so none is recommended."
    return "No arm can be recommended on these runs." if len(section.arms) > 1 else "There is nothing to compare yet."


def _of_one_arm(section: ComparedSection, only: ComparedArm) -> Recommended:
    """What may be said where the untuned model is all that there is beside the reference."""
    untuned = section.arms[next(iter(section.verdicts))]
    verdicts = {"accuracy": untuned.verdict, "held-out loss": untuned.loss_verdict}
    shown = [by for by, verdict in verdicts.items() if _says(verdict, ("worse",))]
    said = f"is worse by {' and by '.join(shown)}" if shown else "is not shown to be worse"
    name, n = only.arm.name, len(only.arm.questions)
    return Recommended(
        answer(section)[0],
        [f"{name} has {_share(only)} of {n:,} questions right; the untuned model, {_share(untuned)}, {said}."],
        only,
    )


def _by_loss(row: ComparedArm, words: Sequence[str]) -> bool:
    """Whether the held-out loss says one of some words of an arm whose accuracy does not say worse."""
    worse = row.verdict is not None and (row.verdict.word == "worse" or row.verdict.slightly_worse)
    return not worse and _says(row.loss_verdict, words)


def _says(verdict: Verdict | None, words: Sequence[str]) -> bool:
    """Whether a verdict as people see it is one of some words; what is surely worse by less than the margin is none."""
    return verdict is not None and verdict.shown in words


def _loss(row: ComparedArm) -> float:
    return float("inf") if row.loss is None else row.loss[0]


def _parameters(row: ComparedArm) -> float:
    return row.arm.mean("trained_parameters") or 0.0


def _cheapest(
    section: ComparedSection, best: ComparedArm, reference: ComparedArm
) -> tuple[ComparedArm | None, Literal["accuracy", "held-out loss"]]:
    """The cheapest arm that is shown to be no worse than the reference, and by what measure."""

    def fit(row: ComparedArm) -> tuple[str, ...]:
        return ("better", "no worse") if _parameters(row) < _parameters(reference) else ("better",)

    cheaper = [row for row in judged(section) if 0 < _parameters(row) < _parameters(best)]
    by_accuracy = [
        row
        for row in cheaper
        if _says(row.verdict, fit(row)) and not (row.loss_verdict is not None and row.loss_verdict.word == "worse")
    ]
    if by_accuracy:
        return min(by_accuracy, key=lambda row: (_parameters(row), row.index)), "accuracy"
    by_loss = [row for row in cheaper if _by_loss(row, fit(row))]
    return min(by_loss, key=lambda row: (_parameters(row), row.index), default=None), "held-out loss"


def _only_full(better: Sequence[ComparedArm]) -> bool:
    return [row.arm.variant for row in better] == [FULL]


def _headline(
    section: ComparedSection,
    better: Sequence[ComparedArm],
    cheapest: ComparedArm | None,
    reference: ComparedArm,
    by: str,
) -> str:
    """
    Args:
        better: than the reference, the best first.
    """
    best = better[0] if better else reference
    name, count = reference.arm.name, _undecided(section)
    if cheapest is None:
        if best is reference:
            others = judged(section)
            if count and _worse_by_loss(section) == count:
                lost, open_ones = ("the others are", _so_many(count, len(others)))
                if len(others) == 1:
                    lost, open_ones = f"{others[0].arm.name} is", "it"
                return f"Use {name}: by held-out loss {lost} worse; accuracy leaves {open_ones} undecided."
            who = f"{others[0].arm.name} is" if len(others) == 1 else _so_many(count, len(others))
            open_ones = f"; {who} undecided" if count else ""
            return f"Use {name}: nothing tried is shown to be better{open_ones}."
        if _only_full(better):
            return (
                f"Full fine-tuning is the best; of the adapters use {name}: no other is shown to be better, and "
                "nothing with fewer trained parameters is shown to be as good."
            )
        return f"Use {best.arm.name}: the best, and nothing with fewer trained parameters is shown to be as good."
    if best is not reference:
        return f"Use {best.arm.name}; for fewer parameters, {cheapest.arm.name}."
    if by == "accuracy":
        return f"Use {cheapest.arm.name}: no worse than {name}, with fewer trained parameters."
    return (
        f"Use {cheapest.arm.name} if held-out loss is what you ask for: no worse by it than {name}, with fewer trained "
        "parameters. Accuracy leaves it undecided."
    )


def _of_best(section: ComparedSection, best: ComparedArm, better: Sequence[ComparedArm], measure: str) -> str:
    n, arms = len(best.arm.questions), len(judged(section))
    if best.is_reference:
        first = section.arms[0]
        highest = f"; of all that was tried {first.arm.name} scores highest, {_share(first)}, which is not surely more"
        ahead = "" if first is best else highest
        of_all = f"Of {arms} other trained arms none is" if arms > 1 else f"{judged(section)[0].arm.name} is not"
        return f"{of_all} surely better than {best.arm.name}, which has {_share(best)} of {n:,} questions right{ahead}."
    others = f", and {len(better) - 1} more surely beat it" if len(better) > 1 else ""
    assert section.reference is not None
    name = section.arms[section.reference].arm.name
    if measure == "accuracy":
        assert best.verdict is not None
        pair = best.verdict.comparison
        gain = " to ".join(signed(100 * value, 1) for value in (pair.low, pair.high))
        return (
            f"{best.arm.name} is the best of {arms}: {_share(best)} of {n:,} questions right, "
            f"{signed(100 * pair.difference, 1)} points ({gain}) against {name}{others}."
        )
    return (
        f"Accuracy shows no arm better than {name}, but the held-out loss, which tells smaller differences, does: "
        f"{best.arm.name} has {_LOSS.text(_loss(best))} nats a token, {_loss_difference(best)} against {name}{others}."
    )


def _loss_difference(row: ComparedArm) -> str:
    """Of an arm with a verdict by loss: its loss less that of the reference, with the interval of this pair."""
    assert row.loss_verdict is not None
    pair = row.loss_verdict.comparison
    return f"{signed(pair.difference, 4)} ({signed(pair.low, 4)} to {signed(pair.high, 4)})"


def _share(row: ComparedArm) -> str:
    """The accuracy, with its interval where it has one."""
    text = f"{_PERCENT.text(float(row.arm.scores.mean()))} %"
    if row.summary is None or not row.arm.conclusive:
        return text
    return f"{text} ({_PERCENT.text(row.summary.low)} to {_PERCENT.text(row.summary.high)})"


def _of_cheapest(best: ComparedArm, reference: ComparedArm, cheapest: ComparedArm | None, by: str) -> str:
    name, price = reference.arm.name, _price(reference)
    if cheapest is not None:
        word = "no worse" if _parameters(cheapest) < _parameters(reference) else "better"
        difference = f", and {_loss_difference(cheapest)} nats a token" if by == "held-out loss" else ""
        return (
            f"Of those shown to be {word} than {name} by {by}, {cheapest.arm.name} trains the fewest parameters: "
            f"{_price(cheapest)} where {name} trains {price}{difference}."
        )
    if _parameters(best) < _parameters(reference):
        return (
            f"{best.arm.name} has {_price(best)} trained parameters where {name} has {price}; nothing with fewer is "
            f"shown to be no worse than {name}."
        )
    return f"Nothing with fewer trained parameters than {name} ({price}) is shown to be no worse."


def _price(row: ComparedArm) -> str:
    return _PARAMETERS.text(round(_parameters(row)))


def _of_open(section: ComparedSection) -> list[str]:
    """How many arms are undecided, and what would decide them."""
    count = _undecided(section)
    if count == 0:
        return []
    others = judged(section)
    who = others[0].arm.name if len(others) == 1 else _so_many(count, len(others))
    who += " other trained arms" if len(others) > 1 else ""
    head = f"{who} {'is' if count == 1 else 'are'} undecided by accuracy"
    head = head[0].upper() + head[1:] if len(others) > 1 else head
    if lost := _worse_by_loss(section):
        by = f", {_loss_difference(others[0])} nats a token" if len(others) == 1 else ""
        head += f", and worse by held-out loss{by}" if lost == count else f", {lost} of them worse by held-out loss"
    if any(record.config.eval.version != SCORING_VERSION for record in section.section.records):
        return [f"{head}; no run is scored by these rules any more, so a new table has to decide."]
    more = plan_more(section)
    more = replace(more, undecided=[each for each in more.undecided if not each.arm.untuned])
    runs = sum(k for _, k in more.runs)
    decided = sum(each.seeds is not None for each in more.undecided)
    if not runs:
        return [f"{head}; even {MOST_SEEDS} seeds an arm would decide none (antipasto-bench plan-more says why)."]
    time = "" if more.seconds is None else f", about {_duration(more.seconds)} one after another,"
    which = "all of them" if decided == count else f"{decided} of them"
    arms = [arm.name for arm, _ in more.runs]
    of_arms = f" of {' and '.join(arms)}" if len(arms) <= NAMED_ARMS else ""
    return [
        f"{head}: {runs} more run{'s' * (runs != 1)}{of_arms}{time} would decide {which}; antipasto-bench plan-more "
        "prints their commands."
    ]


def _so_many(count: int, of: int) -> str:
    """Of several arms, how many."""
    if count < of:
        return f"{count} of {of}"
    return "both" if of == 2 else f"all {of}"


def _undecided(section: ComparedSection) -> int:
    """How many trained arms are undecided by accuracy."""
    return sum(row.verdict is not None and row.verdict.word == "undecided" for row in judged(section))


def _worse_by_loss(section: ComparedSection) -> int:
    """How many of the arms that are undecided by accuracy are worse by held-out loss."""
    undecided = [row for row in judged(section) if row.verdict is not None and row.verdict.word == "undecided"]
    return sum(_says(row.loss_verdict, ("worse",)) for row in undecided)


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{max(1, round(seconds / 60))} min"
