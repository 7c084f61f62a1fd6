"""What may be said of a table, in sentences: plain text, one claim each."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ..analysis.ablations import points
from ..analysis.arms import Arm
from ..analysis.compared_sections import ComparedArm, ComparedSection
from ..analysis.comparisons import POWER, unpaired
from ..analysis.plan import is_reference
from ..analysis.verdicts import LEVEL, Verdict, Word
from ..spec.config import SCORING_VERSION
from ..store.quantities import quantity

NOTHING_SEARCHED = "No learning rate was searched here: at others the order can be another."
NAMED = 3  # arms that a sentence names
_PERCENT, _PARAMETERS = quantity("test_accuracy"), quantity("trained_parameters")


def answer(section: ComparedSection) -> list[str]:
    """At most three sentences: what the data say of the arms, of the cheap ones, and what is left open."""
    if section.accuracy is None or len(section.arms) < 2:
        return []
    if section.one_seed:
        return [_of_runs(section)]
    if section.reference is None:
        lost = any(is_reference(record, section.plan) for record in section.section.diverged)
        why = f"Every run of {section.plan.reference}" if lost else f"No arm is {section.plan.reference}"
        return [f"{why}, the planned reference{', diverged' if lost else ''}: no arm gets a verdict."]
    if not section.verdicts:
        reference = section.section.arms[section.reference]
        why = "no arm beside it has two" if reference.conclusive else "it has one"
        return [
            f"{reference.name} is the reference, and {why} seeds: no arm gets a verdict.".replace(
                "one seeds", "one seed"
            )
        ]
    if not judged(section):
        return [f"Only {section.section.arms[section.reference].name} was trained: there is nothing to choose from."]
    return [_of_arms(section), _of_cheap_arms(section), *_what_is_open(section)]


def judged(section: ComparedSection) -> list[ComparedArm]:
    """The trained arms that have a verdict, which sentences count: not the untuned model, nor what trains nothing.

    Where nothing was trained, those that train nothing.
    """
    adapted = [section.arms[i] for i in section.verdicts if not section.arms[i].arm.untuned]
    return [row for row in adapted if row.arm.first.lr is not None] or adapted


def _of_runs(section: ComparedSection) -> str:
    best = section.section.arms[0]
    return (
        f"These runs only: every trained arm has one seed, so nothing follows for the methods. Most questions were "
        f"answered right by {best.name}, {_percent(best)} %."
    )


def _percent(arm: Arm) -> str:
    return _PERCENT.text(float(arm.scores.mean()))


def _of_arms(section: ComparedSection) -> str:
    """How many arms are better, no worse, worse or undecided, and which."""
    assert section.reference is not None
    reference = section.section.arms[section.reference]
    head, others = f"Against {reference.name}, which has {_percent(reference)} % right,", judged(section)
    if len(others) == 1:
        said = count(_verdict(others[0]).word, 1, section.plan.margin).removeprefix("1 ")
        return f"{head} {others[0].arm.name} {said}."
    counted = [
        f"{count(word, len(rows), section.plan.margin)}{_names(rows) if word in ('better', 'no worse') else ''}"
        for word in ("better", "no worse", "undecided", "worse")
        if (rows := _with(section, word))
    ]
    listed = f"{', '.join(counted[:-1])} and {counted[-1]}" if len(counted) > 1 else counted[0]
    return f"{head} of {len(others)} other trained arms {listed}."


def count(word: Word, arms: int, margin: float) -> str:
    """A verdict with how many arms have it.

    Args:
        margin: points, of `no worse`.
    """
    by = f" by {margin:g} points" if word == "no worse" else ""
    return f"{arms} {'are' if arms > 1 else 'is'} {word}{by}"


def _with(section: ComparedSection, word: Word) -> list[ComparedArm]:
    return [row for row in judged(section) if _verdict(row).word == word]


def _names(rows: Sequence[ComparedArm]) -> str:
    """The first few, in the order of the table, in brackets."""
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return f" ({', '.join(row.arm.name for row in rows[:NAMED])}{more})"


def _of_cheap_arms(section: ComparedSection) -> str:
    """The arm of fewest trained parameters that is better or no worse, where it has fewer than the reference.

    One that its held-out loss shows to be worse is none.
    """
    assert section.reference is not None
    most = section.section.arms[section.reference].mean("trained_parameters") or 0.0
    fit = [
        row
        for row in [*_with(section, "better"), *_with(section, "no worse")]
        if row.loss_verdict is None or row.loss_verdict.word != "worse"
    ]
    priced = [(size, row.index) for row in fit if 0 < (size := row.arm.mean("trained_parameters") or 0.0) < most]
    if not priced:
        return "No trained arm with fewer parameters than the reference is shown to be no worse by accuracy."
    size, index = min(priced)
    return (
        f"Of those that are better or no worse, {section.arms[index].arm.name} trains the fewest parameters: "
        f"{_PARAMETERS.text(round(size))}, where the reference trains {_PARAMETERS.text(round(most))}."
    )


def _what_is_open(section: ComparedSection) -> list[str]:
    """Where accuracy and loss disagree; else how large a difference the undecided arms can hide."""
    opposed = disagreements(section)
    if opposed:
        return [f"Accuracy and held-out loss point in opposite directions for {_listed(opposed)}."]
    undecided = _with(section, "undecided")
    if not undecided or section.accuracy is None:
        return []
    widest = median(max(abs(v.comparison.low), abs(v.comparison.high)) for v in map(_verdict, undecided))
    differs = f"An undecided arm can still differ by {points(widest)}, at the median"
    if any(record.config.eval.version != SCORING_VERSION for record in section.section.records):
        return [f"{differs}; no run is scored by these rules any more, so a new table has to decide."]
    return [f"{differs}; antipasto-bench plan-more says which runs would decide, if any."]


def _verdict(row: ComparedArm) -> Verdict:
    assert row.verdict is not None
    return row.verdict


def disagreements(section: ComparedSection) -> list[str]:
    """The arms that differ from the reference by accuracy and by loss, each surely, in opposite directions."""
    names = []
    for i, verdict in section.verdicts.items():
        loss = section.loss_verdicts.get(i)
        if loss is None or not (verdict.p < LEVEL and loss.p < LEVEL):
            continue
        if (verdict.comparison.centre > 0) == (loss.comparison.centre > 0):
            names.append(section.arms[i].arm.name)
    return names


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def unsearched(section: ComparedSection) -> list[str]:
    """Which arms are at a learning rate that nothing chose: at another one the order could be another."""
    found, tried = section.section.searched, {rates.arm for rates in section.section.tried}
    trained = [row.arm for row in section.arms if not row.arm.untuned and row.arm.first.lr is not None]
    names = [arm.name for arm in trained if arm.first.arm not in found and arm.name not in tried]
    if not names:
        return []
    if len(names) == len(trained):
        return [NOTHING_SEARCHED]
    return [f"The learning rate of {_listed(names)} was not searched: at another one it can do better."]


def reading(section: ComparedSection, *, ranks: bool = True, bold: bool = True) -> list[str]:
    """How the columns of a table are to be read: what each number is an error over, and what was corrected.

    Args:
        ranks: whether the table has the column of ranks.
        bold: whether it has the accuracies in bold that may be the first.
    """
    arms, pairs, kinds = section.section.arms, section.accuracy, kinds_in_words(section)
    lines = []
    if pairs is None:
        differ = unpaired(arms)
        why = "scores lie between right and wrong" if differ is None else f"questions differ. {differ}"
        lines.append(f"These rows are not compared: their {why}.")
    elif section.one_seed:
        lines.append(f"test % is accuracy ± one standard error over questions{kinds} alone: it holds for these runs.")
    else:
        lines.append(
            f"test % is accuracy ± one standard error, and 95 % its interval, over questions{kinds} and "
            f"seeds.{' Bold: may be first.' if bold else ''}"
        )
        lines += _of_family(section)
        lines += _of_ranks(section) if ranks else []
    if any(arm.mean("test_loss") is not None for arm in arms):
        lines.append(
            f"test loss is -log p of the reference solutions{loss_count(arms)}, in nats a token: lower is better."
        )
    if any(arm.mean("general_loss") is not None for arm in arms if not arm.untuned):
        lines.append("forgets is the rise of the loss on general text, in nats a token.")
    return lines


def loss_count(arms: Sequence[Arm]) -> str:
    """To how many questions the solutions are, where these are more than were answered."""
    counts = {len(arm.losses.tokens) for arm in arms if arm.losses is not None} - {len(arms[0].questions)}
    return f" to {max(counts):,} questions" if counts else ""


def of_margins(section: ComparedSection) -> list[str]:
    """By which measures no arm may be called no worse, as the reference itself may be that near to no training."""
    assert section.reference is not None
    reference, plan = section.section.arms[section.reference].name, section.plan
    measures = {
        f"{plan.margin:g} points more right": ("accuracy", section.accuracy),
        f"{plan.loss_margin:g} nats a token less": ("held-out loss", section.loss),
    }
    return [
        f"{reference} is not shown to have {lead} than the untuned model, so no arm is called no worse by {measure}."
        for lead, (measure, pairs) in measures.items()
        if pairs is not None and not pairs.margin_is_small(section.reference, plan)
    ]


def _of_family(section: ComparedSection) -> list[str]:
    """What the verdicts are corrected for."""
    if not section.verdicts:
        return []
    looks = ", and for looking at every new seed" if section.plan.looks == "every seed" else ""
    of_loss = len(section.loss_verdicts)
    by_loss = [
        f"verdict by loss: likewise, by a margin of {section.plan.loss_margin:g} nats a token, corrected for {of_loss} "
        f"comparison{'s' * (of_loss != 1)}."
    ]
    return [
        "verdict: better and worse where the reference's own accuracy is ruled out, no worse where one lower by "
        f"{section.plan.margin:g} points is; each corrected for {len(section.verdicts)} "
        f"comparison{'s' * (len(section.verdicts) != 1)} (Holm, {LEVEL:g}){looks}.",
        *(by_loss if of_loss else []),
        *of_margins(section),
    ]


def _of_ranks(section: ComparedSection) -> list[str]:
    """What the ranks are corrected for, and what the median pair would have shown."""
    if section.accuracy is None or not section.accuracy.conclusive:
        return []
    smallest, pairs = section.accuracy.smallest, len(section.accuracy.conclusive)
    found = "" if smallest is None else f" The median pair would show {points(smallest)} {POWER:.0%} of the time."
    corrected = f"from all {pairs} pairs, corrected likewise" if pairs > 1 else "from one pair"
    return [f"rank among: exploration, {corrected}.{found}"]


def kinds_in_words(section: ComparedSection) -> str:
    """Names kinds among what varies, with how many independent questions the set is worth for the median arm."""
    kinds = section.section.arms[0].kinds
    if kinds is None:
        return ""
    effective = median(row.summary.effective for row in section.arms if row.summary is not None)
    return f" of {len(set(kinds))} kinds ({len(kinds)} questions that say as much of an arm as {effective:.0f} would)"


def reference_note(section: ComparedSection) -> str:
    """Which arm is the reference, where several could be; empty where one."""
    chosen = section.chosen_reference
    if chosen is None or not chosen.why:
        return ""
    return f"The reference is {section.section.arms[chosen.place].name}, the one {chosen.why}."
