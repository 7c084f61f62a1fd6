"""The results in a terminal: a row an arm with its accuracy, its difference to the reference and its price."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from ..analysis.compared_sections import ComparedSection, FailedRun
from ..core.text import one_line
from ..core.text_table import text_table
from .columns import COLUMNS
from .words import answer

# Names of columns of the whole tables.
SHOWN = ("variant", "rank", "test %", "vs reference", "verdict", "params", "train s")


def overview(sections: Sequence[ComparedSection], failed: Sequence[FailedRun], width: int | None) -> str:
    """A short table for each section, those columns left out that are empty; and how many runs failed.

    Args:
        width: characters in a line of the terminal; None cuts nothing.
    """
    parts = [part for section in sections for part in _parts(section, width) if part]
    if failed:
        parts.append(f"{len(failed)} run{'s' if len(failed) > 1 else ''} failed: antipasto-bench list status=failed")
    return "\n\n".join(parts)


def _parts(section: ComparedSection, width: int | None) -> list[str]:
    return [one_line(section.title), _table(section, width), _wrapped(" ".join(answer(section)), width)]


def _table(section: ComparedSection, width: int | None) -> str:
    shown = [next(column for column in COLUMNS if column.name == name) for name in SHOWN]
    cells = [[_without_interval(column.cell(row).text) for column in shown] for row in section.arms]
    filled = [i for i in range(len(shown)) if any(line[i] for line in cells)]
    header = [shown[i].name for i in filled]
    lines = [[line[i] for i in filled] for line in cells]
    return text_table(header, lines, left={"variant"}, shrinking={"variant": 0}, width=width)


def _without_interval(text: str) -> str:
    """A difference alone: a terminal has no room for its interval."""
    return text.partition(" (")[0]


def _wrapped(text: str, width: int | None) -> str:
    return one_line(text) if width is None else "\n".join(wrap(one_line(text), width))
