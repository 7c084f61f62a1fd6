"""Rows of a CSV or TSV file: the first line names the columns, quotes hold cells with line ends, every cell is text."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import UserError
from .row_columns import OPTIONAL_FIELDS, RowColumns, missing_column
from .text_file import LONGEST_ROW, text_lines


def read_csv(path: Path, fields: tuple[str, ...], delimiter: str) -> RowColumns:
    """All rows of a file; an empty cell is none, a blank line no row.

    Raises:
        UserError: as `text_lines`; a column is missing or named twice, a row has more or fewer cells than the first
            line, quotes do not close, or a row is not as `RowColumns` takes it. The line is named.
    """
    rows = RowColumns(fields)
    reader = csv.reader(text_lines(path), delimiter=delimiter, strict=True)
    line = 1
    with _long_cells():
        try:
            names = next(reader, None)
            if names is None:
                return rows
            names = [name.strip() for name in names]
            places = _places(names, fields)
            line = reader.line_num + 1
            for cells in reader:
                if cells:
                    if len(cells) != len(names):
                        raise ValueError(f"{len(cells)} cells; the first line names {len(names)} columns")
                    rows.add({name: cells[place] for name, place in places.items()}, line)
                line = reader.line_num + 1
        except (ValueError, csv.Error) as error:
            reason = "a quote is never closed" if str(error) == "unexpected end of data" else str(error)
            raise UserError(f"{path}, line {line}: {reason}") from error
    return rows


def _places(names: list[str], fields: tuple[str, ...]) -> dict[str, int]:
    read = (*fields, *OPTIONAL_FIELDS.get(fields, ()))
    for field in read:
        if names.count(field) > 1:
            raise ValueError(f"column {field!r} is named twice; leave one")
        if field in fields and field not in names:
            raise ValueError(missing_column(field, names))
    return {field: names.index(field) for field in read if field in names}


@contextmanager
def _long_cells() -> Iterator[None]:
    """Cells as long as a row may be: the csv module's own limit is 131,072 characters."""
    before = csv.field_size_limit(LONGEST_ROW)
    try:
        yield
    finally:
        csv.field_size_limit(before)
