"""What a reader has to know before a table of the page: its words, what narrows its answer down, and its statistics."""

from __future__ import annotations

from collections.abc import Sequence

from ..analysis.compared_sections import ComparedSection
from ..analysis.conditions import mixed_conditions
from ..analysis.contamination import contamination
from ..analysis.verdicts import LEVEL
from ..core.paths import EMBEDDED
from .recommended import recommended
from .words import kinds_in_words, loss_count, of_margins, unsearched

ROTATED = "rotate_basis"  # a setting that names of arms hold


def terms(section: ComparedSection) -> list[tuple[str, str]]:
    """The words that a table is read by, each with its meaning in one line."""
    said = [("arm", "one adapter with one setting, over all its seeds.")]
    if section.reference is not None:
        name = section.section.arms[section.reference].name
        said.append(("reference", f"{name}, the arm that the others are judged against."))
    if section.verdicts:
        said.append(("verdict", "what the data show of an arm against the reference; undecided: neither way."))
    if any(row.arm.mean("general_loss") is not None for row in section.arms if not row.arm.untuned):
        said.append(("forgets", "how far training raised the loss on general text, in nats a token."))
    if any(ROTATED in row.arm.name for row in section.arms):
        said.append((ROTATED, "which singular vectors antipasto rotates: V (inputs), U (outputs), both or none."))
    return said


def before_the_table(section: ComparedSection) -> list[str]:
    """What narrows an answer down, a sentence each."""
    arms = section.section.arms
    said = [*unsearched(section), *contamination(arms), *filter(None, [mixed_conditions(arms)])]
    if section.section.records[0].config.model in EMBEDDED:
        said.append(
            f"{section.section.model} ships with the package, a toy that answers generated word problems: how methods "
            "compare on it need not hold for a language model."
        )
    return said


def how_to_read(section: ComparedSection) -> list[str]:
    """What only some readers ask of the numbers and verdicts of a table, a sentence or two each."""
    said = list[str]()
    if section.verdicts:
        measure = "held-out loss" if recommended(section).rests_on_loss else "accuracy"
        said += [
            f"The answer rests on {measure}, so the verdict by it stands first.",
            "All verdicts by one measure hold together at 95 %.",
            f"Held-out loss: -log p of the reference solutions{loss_count(section.section.arms)}, in nats a token, "
            "compared on the same questions; lower is better.",
            *_of_single_intervals(section),
            *of_margins(section),
        ]
    if kinds := kinds_in_words(section):
        said.append(f"The questions are{kinds}.")
    return said


def _of_single_intervals(section: ComparedSection) -> Sequence[str]:
    """Why some interval leaves out 0 beside a verdict that does not say so; empty where none does."""
    verdicts = [*section.verdicts.values(), *section.loss_verdicts.values()]
    if not any(v.p >= LEVEL and not v.comparison.low <= 0 <= v.comparison.high for v in verdicts):
        return []
    return [
        f"An interval is of its pair alone, and a verdict is corrected for all {len(section.verdicts)} pairs: so an "
        "interval can leave out 0 where the verdict is neither better nor worse."
    ]
