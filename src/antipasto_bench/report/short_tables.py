"""The tables of README: for each model its answer and the best setting of each variant, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from ..analysis.choosing_notes import diverged_notes, rows_of_diverged, scored_where_chosen
from ..analysis.compared_sections import ComparedArm, ComparedSection
from ..analysis.conditions import mixed_conditions, one_machine
from ..analysis.contamination import contamination
from ..core.paths import EMBEDDED
from .columns import columns
from .markdown import arms_table, picture
from .markup import escaped
from .recommended import recommended
from .words import reading, unsearched


def short_markdown(sections: Sequence[ComparedSection], whole: str, figures: str | None = None) -> str:
    """For each model the answer of one table and the best setting of each variant; above the first a drawing.

    Args:
        whole: where the whole tables are, as the page names it.
        figures: as in `markdown`.
    """
    of_models = _by_model(sections)
    parts = [
        _short(max(tables, key=breadth), len(tables) - 1, whole, None if place else figures)
        for place, tables in enumerate(of_models)
    ]
    return "\n\n".join(parts) + "\n"


def breadth(section: ComparedSection) -> tuple[bool, int, int, int]:
    """What makes a table the one to show of a model: verdicts on trained arms, then questions, variants and arms."""
    variants = {row.arm.variant for row in section.arms}
    judged = any(not section.arms[i].arm.untuned for i in section.verdicts)
    return judged, section.section.records[0].test_n or 0, len(variants), len(section.arms)


def _by_model(sections: Sequence[ComparedSection]) -> list[list[ComparedSection]]:
    """The tables of each model in their order; models that ship with this package, which are toys, come last."""
    of_models: dict[str, list[ComparedSection]] = {}
    for section in sections:
        of_models.setdefault(section.section.model, []).append(section)
    return sorted(of_models.values(), key=lambda tables: tables[0].section.records[0].config.model in EMBEDDED)


def _short(section: ComparedSection, others: int, whole: str, figures: str | None) -> str:
    """
    Args:
        others: tables of the same model, by other protocols.
    """
    rows = best_settings(section)
    parts = [f"### {escaped(section.title)}", ""]
    said = recommended(section)  # what the page says first, too
    if said.sentences:
        parts += [" ".join([f"**{escaped(said.headline)}**", *map(escaped, said.sentences)]), ""]
    if figures and section.has_sizes:
        parts += [picture(figures, f"{section.slug}-pareto", "Test accuracy against trained parameters"), ""]
    told = IN_README if one_machine([row.arm for row in rows]) else {*IN_README} - {"train s"}
    shown = [column for column in columns("scores") + columns("costs") if column.name in told]
    parts += [arms_table(list(dict.fromkeys(shown)), rows, rows_of_diverged(section.section)), ""]
    left = len(section.arms) - len(rows)
    more = f"{left} more arm{'s' * (left != 1)}, " if left else ""
    more += f"{others} more protocol{'s' * (others != 1)}, " if others else ""
    notes = [
        *reading(section, ranks=False),
        *diverged_notes(section.section),
        *scored_where_chosen(section.section),
        *unsearched(section),
        *contamination(section.section.arms),
        mixed_conditions([row.arm for row in rows]),
    ]
    parts += [" ".join(map(escaped, filter(None, notes))), "", f"[{more}every column, sweep and cost]({quote(whole)})"]
    return "\n".join(parts)


IN_README = (
    *("variant", "rank", "lr", "test %", "95 %", "vs reference", "verdict", "test loss", "verdict by loss", "forgets"),
    *("seeds", "params", "train s", "kept MB"),
)
MOST_ROWS = 12


def best_settings(section: ComparedSection, most: int | None = MOST_ROWS) -> list[ComparedArm]:
    """The arms of a short table: of each variant the one of best validation accuracy, the reference and the base.

    Which setting is best, and which variants have a row where there are too many, is not judged by the test questions,
    which would flatter it. Where no arm was validated, it is the one with the fewest settings of its own.

    Args:
        most: rows; None for every variant's.
    """
    best: dict[str, ComparedArm] = {}
    for row in section.arms:
        known = best.get(row.arm.variant)
        if known is None or _order(row) < _order(known):
            best[row.arm.variant] = row
    if section.reference is not None:
        reference = section.arms[section.reference]
        if not _is_validated(section):
            best[reference.arm.variant] = reference
    kept = [row for row in section.arms if row.is_reference or row.arm.untuned]
    others = sorted((row for row in best.values() if row not in kept), key=lambda row: -_validated(row))
    return sorted([*kept, *others[: None if most is None else max(0, most - len(kept))]], key=lambda row: row.index)


def heading(section: ComparedSection) -> str:
    """What a table of `best_settings` shows, as far as it was chosen at all."""
    variants = [row.arm.variant for row in section.arms]
    if len(set(variants)) == len(variants):
        return "Each method"
    return (
        "Each method at one setting, chosen by validation" if _is_validated(section) else "Each method at one setting"
    )


def _is_validated(section: ComparedSection) -> bool:
    return any(row.arm.mean("valid_accuracy") is not None for row in section.arms)


def _order(row: ComparedArm) -> tuple[float, int, str]:
    """The best validated first, of equal ones that with the fewest settings in its name: no test score is looked at."""
    return -_validated(row), len(row.arm.name.split()), row.arm.name


def _validated(row: ComparedArm) -> float:
    """The validation accuracy; of a run that diverged 0."""
    return (row.arm.mean("valid_accuracy") or 0.0) * len(row.arm.records) / row.arm.seeds
