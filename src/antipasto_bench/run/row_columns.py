"""The columns that are read of a row, and which values each may have.

    query, response, question, answer, text: text that is not blank. A number is refused: 007 and 7 are one number.
    original_question: text, or a whole number as its text. null, NaN and blank text stand for none.
    type: likewise, and any other value stands for none. Of training rows and of questions.

Other columns are not looked at.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from antipasto.config import did_you_mean

TRAIN_FIELDS = ("query", "response")
QUESTION_FIELDS = ("question", "answer")
OPTIONAL_FIELDS: dict[tuple[str, ...], tuple[str, ...]] = {  # of rows with such columns
    TRAIN_FIELDS: ("original_question", "type"),
    QUESTION_FIELDS: ("type",),
}
ANY_VALUE = ("type",)  # a value that is no text counts as none
_JSON_NAMES = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    str: "text",
}


def missing_column(field: str, known: Iterable[str]) -> str:
    """What to say of a column that is not there: its name, the nearest one, and all that are."""
    return f"no column {field!r}{did_you_mean(field, known)}"


class RowColumns:
    """Rows read one by one from a file, of which only these columns are read."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        """
        Args:
            fields: the columns that must be there; `OPTIONAL_FIELDS` says which others are read with them.
        """
        self.lines = array("Q")  # where each row begins in its file
        self._fields = fields
        self._optional = OPTIONAL_FIELDS.get(fields, ())
        self._values: dict[str, list[str | None]] = {field: [] for field in (*fields, *self._optional)}

    def add(self, row: Any, line: int) -> None:
        """Take a row, whole or not at all.

        Raises:
            ValueError: it is no mapping of columns to values, or a value is not what its column holds.
        """
        expected = ", ".join(self._fields)
        if not isinstance(row, Mapping):
            raise ValueError(f"no text under {self._fields[0]!r}, since the row is {_name(row)}; expected {expected}")
        values = {field: _required(row, field, expected) for field in self._fields}
        values |= {field: _optional(row.get(field), field) for field in self._optional}
        for field, value in values.items():
            self._values[field].append(value)
        self.lines.append(line)

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame(self._values, schema=dict.fromkeys(self._values, pl.String))


def kind_name(value: Any) -> str | None:
    """The kind that a value of `type` names; None where it names none."""
    return _optional(value, "type")


def _required(row: Mapping[str, Any], field: str, expected: str) -> str | None:
    value = row.get(field)
    if not isinstance(value, str):
        if field not in row:
            raise ValueError(f"no text under {field!r}; expected {expected}{did_you_mean(field, map(str, row))}")
        raise ValueError(f"no text under {field!r}, which is {_name(value)}; expected {expected}")
    if not value.strip():
        raise ValueError(f"no text under {field!r}; expected {expected}")
    return _whole(value, field)


def _optional(value: Any, field: str) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return _whole(value, field) if value.strip() else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if field in ANY_VALUE:
        return None
    raise ValueError(f"{field!r} is {_name(value)}; expected text, a whole number or null")


def _whole(text: str, field: str) -> str:
    """The text, unless it has half of a surrogate pair, which is no character and stands in no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(
            f"{field!r} holds \\u{ord(half):04x} at character {error.start + 1}, half of a surrogate pair and no "
            "character; remove it, or write the character whole"
        ) from error
    return text


def _name(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "null" if value is None else _JSON_NAMES.get(type(value), type(value).__name__)
