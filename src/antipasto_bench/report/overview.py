"""The results in a terminal: a row an arm with its accuracy, its difference to the reference and its price."""

from __future__ import annotations

from collections.abc import Sequence

from ..analysis.compared_sections import ComparedSection, FailedRun
from ..core.text import one_line
from ..core.text_table import text_table
from .columns import COLUMNS
from .words import answer

SHOWN = (
    "variant",
    "rank",
    "test %",
    "vs reference",
    "verdict",
    "params",
    "train s",
)  # names of columns of the whole tables


def overview(sections: Sequence[ComparedSection], failed: Sequence[FailedRun], width: int | None) -> str:
    """A short table for each section, those columns left out that are empty; and how many runs failed.

    Args:
        width: characters in a line of the terminal; None cuts nothing.
    """
    parts = [
        "\n\n".join([one_line(section.title), _table(section, width), *map(one_line, answer(section))])
        for section in sections
    ]
    if failed:
        parts.append(f"{len(failed)} run{'s' if len(failed) > 1 else ''} failed: antipasto-bench list status=failed")
    return "\n\n".join(parts)


def _table(section: ComparedSection, width: int | None) -> str:
    shown = [next(column for column in COLUMNS if column.name == name) for name in SHOWN]
    cells = [[column.cell(row).text for column in shown] for row in section.arms]
    filled = [i for i in range(len(shown)) if any(line[i] for line in cells)]
    header = [shown[i].name for i in filled]
    lines = [[line[i] for i in filled] for line in cells]
    return text_table(header, lines, left={"variant"}, shrinking={"variant": 0}, width=width)
