"""The tables for a paper: LaTeX with booktabs, one a model and protocol, each with a caption that stands alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..analysis.choosing_notes import rows_of_diverged
from ..analysis.compared_sections import ComparedArm, ComparedSection
from ..core.places import shown_name
from .cells import Cell, Column
from .columns import COLUMNS
from .csv_table import trained_with
from .diverged import diverged_cell
from .markup import latex
from .short_tables import best_settings
from .words import reading, reference_note

SHOWN = (  # as many as a page is wide
    *("variant", "rank", "params", "test %", "95 %", "vs reference", "verdict", "test loss", "verdict by loss"),
    "forgets",
)
FULL = (
    *("variant", "rank", "lr", "params", "test %", "95 %", "vs reference", "verdict", "test loss", "loss vs reference"),
    *("verdict by loss", "forgets", "seeds", "train s", "kept MB"),
)
HEAD = "% antipasto-bench report --latex; needs \\usepackage{booktabs,graphicx}\n"
FITTED = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"  # no wider than the text
VERSUS = next(column for column in COLUMNS if column.name == "vs reference")
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")


def latex_tables(sections: Sequence[ComparedSection], *, full: bool = False) -> str:
    """A table for each section, by default with the best setting of each variant and the columns that fit a page.

    Args:
        full: every arm, with more columns.
    """
    return HEAD + "".join(f"\n{_table(section, full)}" for section in sections)


def _table(section: ComparedSection, full: bool) -> str:
    rows = section.arms if full else best_settings(section, most=None)
    shown = [next(column for column in COLUMNS if column.name == name) for name in (FULL if full else SHOWN)]
    cells = [[column.cell(row) for column in shown] for row in rows]
    cells += [[diverged_cell(column, arm) for column in shown] for arm in rows_of_diverged(section.section)]
    filled = [i for i in range(len(shown)) if any(line[i].text for line in cells)]
    lines = [[_cell(shown[i], line[i]) for i in filled] for line in cells]
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            f"\\caption{{{_caption(section, rows)}}}",
            f"\\label{{tab:{section.slug}}}",
            FITTED,
            f"\\begin{{tabular}}{{{''.join('l' if shown[i].left else 'r' for i in filled)}}}",
            r"\toprule",
            _line([latex(shown[i].name) for i in filled]),
            r"\midrule",
            *map(_line, lines),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table*}",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _cell(column: Column, cell: Cell) -> str:
    text = latex(cell.text)
    if not column.left:  # numbers: a minus is no hyphen, and a range has a dash
        text = _MINUS.sub("$-$", text).replace(" - ", "--")
    return f"\\textbf{{{text}}}" if cell.best else text


def _caption(section: ComparedSection, rows: Sequence[ComparedArm]) -> str:
    """Model, data, questions, seeds, which arms are shown, and how the columns are to be read."""
    config = trained_with(section).config
    said = [
        f"{section.title}; trained on {shown_name(config.data.train)}.",
        _seeds(rows),
        "" if len(rows) == len(section.arms) else _selection(_trained(rows), _trained(section.arms)),
        *reading(section, ranks=False),
        f"{VERSUS.name}: {VERSUS.meaning}." if section.verdicts else "",
        _reference(section),
    ]
    return " ".join(map(latex, filter(None, said)))


def _seeds(rows: Sequence[ComparedArm]) -> str:
    counts = sorted({row.arm.seeds for row in rows if row.arm.trained_on_seeds})
    if not counts:
        return ""
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{span} seed{'s' * (counts[-1] > 1)} an arm."


def _trained(rows: Sequence[ComparedArm]) -> int:
    return sum(not row.arm.untuned for row in rows)


def _selection(shown: int, of: int) -> str:
    return (
        f"Shown are {shown} of {of} trained arms: of each variant the setting that validation found best; all {of} "
        "count."
    )


def _reference(section: ComparedSection) -> str:
    if section.reference is None:
        return ""
    return reference_note(section) or f"The reference is {section.arms[section.reference].arm.name}."
