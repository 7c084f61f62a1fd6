"""A table of text in columns: as wide as a terminal is, or whole where the output is a file or a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence

from .text import one_line

GAP = "  "  # between two columns
LEAST = 8  # characters of a column that is cut


def terminal_width() -> int | None:
    """Characters in a line of the terminal; None where stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def text_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[str],
    shrinking: Mapping[str, int] | None = None,
    width: int | None = None,
) -> str:
    """Columns with their names above them, two spaces apart; a line for the header and one for each row.

    Args:
        left: names of the columns of text; the others are numbers, whose last digits stand below each other.
        shrinking: the columns that are cut where the table would be wider than `width`, the first one first; and how
            many of the last characters of a cell are never cut.
        width: characters in a line; None cuts nothing.
    """
    lines = [[one_line(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    excess = 0 if width is None else sum(widths) + len(GAP) * (len(widths) - 1) - width
    for name in (name for name in shrinking or {} if name in header):
        index = header.index(name)
        taken = max(0, min(excess, widths[index] - LEAST))
        widths[index] -= taken
        excess -= taken

    def line_of(cells: Sequence[str]) -> str:
        padded = (
            _shortened(cell, size, (shrinking or {}).get(name, 0)).ljust(size) if name in left else cell.rjust(size)
            for name, cell, size in zip(header, cells, widths, strict=True)
        )
        return GAP.join(padded).rstrip()

    return "\n".join(map(line_of, lines))


def _shortened(text: str, size: int, end: int) -> str:
    """At most so many characters of a text, with an ellipsis for what is left out before its last `end` characters."""
    if len(text) <= size:
        return text
    end = end if end + 1 < size else 0
    return f"{text[: size - end - 1]}…{text[len(text) - end :]}"
