"""Rows of a JSON file: one array of objects, or one object a line; which of them the first character says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from .row_columns import RowColumns
from .text_file import LONGEST_ROW, text_lines, text_pieces, too_long

_SPACE = re.compile(r"[ \t\r\n]*")
_LONGEST_WORD = 16  # characters from where the decoder stops in a token that is cut off, but for a string, to its end


def read_json(path: Path, fields: tuple[str, ...]) -> tuple[RowColumns, bool]:
    """All rows of a file.

    Returns:
        the rows, and whether they stand in an array.

    Raises:
        UserError: as `text_pieces`; or something in it is no JSON, or a row is not as `RowColumns` takes it. The line
            is named, and in an array the row.
    """
    is_array = _first_character(path) == "["
    return (_read_array if is_array else _read_lines)(path, fields), is_array


def _first_character(path: Path) -> str:
    return next((piece.strip(" \t\r\n")[0] for piece in text_pieces(path) if piece.strip(" \t\r\n")), "")


def _read_lines(path: Path, fields: tuple[str, ...]) -> RowColumns:
    rows, decode = RowColumns(fields), _decoder().decode
    for number, line in enumerate(text_lines(path), start=1):
        if line.strip(" \t\r\n"):
            try:
                rows.add(_decoded(partial(decode, line)), number)
            except _NotJsonError as error:
                raise UserError(f"{path}, line {number}: {error} at column {error.place + 1}") from error
            except ValueError as error:
                raise UserError(f"{path}, line {number}: {error}") from error
    return rows


def _read_array(path: Path, fields: tuple[str, ...]) -> RowColumns:
    rows, text = RowColumns(fields), _Window(path)
    place = "row 1"
    try:
        text.skip("[")
        while not text.at("]"):
            if rows.lines:
                text.skip(",")
            place = f"row {len(rows.lines) + 1}"
            text.skip()
            line = text.line
            rows.add(text.value(place), line)
            place = f"behind row {len(rows.lines)}"
        text.skip("]")
        text.skip("")
    except ValueError as error:
        raise UserError(f"{path}, {place}, line {text.line}: {error}") from error
    return rows


class _Window:
    """The text of a file from where it is read, with as much behind as the value there needs."""

    def __init__(self, path: Path) -> None:
        self.line = 1
        self._path = path
        self._pieces: Iterator[str] = text_pieces(path)
        self._text, self._place = "", 0
        self._decode = _decoder().raw_decode

    def at(self, character: str) -> bool:
        """Whether the next character but white space is this one."""
        self.skip()
        return self._text.startswith(character, self._place)

    def skip(self, character: str | None = None) -> None:
        """Go on behind white space, and behind a character that must stand there; "" for the end of the file.

        Raises:
            ValueError: another one stands there.
        """
        while True:
            space = _SPACE.match(self._text, self._place)
            assert space is not None
            self._go_to(space.end())
            if self._place < len(self._text) or not self._grow():
                break
        if character is None:
            return
        here = self._text[self._place : self._place + 1]
        if here != character:
            expected = {"]": "']' at the end of the array", ",": "',' or ']'", "": "the end of the file"}
            there = repr(here) if here else "the end of the file"
            raise ValueError(f"not JSON (expected {expected.get(character, repr(character))}, not {there})")
        self._go_to(self._place + len(character))

    def value(self, place: str) -> Any:
        """The value that begins here.

        Raises:
            ValueError: no JSON begins here.
            UserError: it is longer than LONGEST_ROW.
        """
        while True:
            try:
                value, end = _decoded(partial(self._decode, self._text, self._place))
            except _NotJsonError as error:
                cut_off = error.in_string or error.place >= len(self._text) - _LONGEST_WORD
                if cut_off and self._grow(place):
                    continue
                self._go_to(min(error.place, len(self._text)))
                raise
            if end < len(self._text) or not self._grow(place):  # 12 may be the beginning of 123
                self._go_to(end)
                return value

    def _go_to(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def _grow(self, row: str = "white space") -> bool:
        """Read on, so that what is left of the text doubles; False at the end of the file."""
        parts = [self._text[self._place :]]
        wanted = 2 * len(parts[0])
        if wanted > 2 * LONGEST_ROW:
            raise too_long(self._path, row)
        length = len(parts[0])
        for piece in self._pieces:
            parts.append(piece)
            length += len(piece)
            if length >= wanted:
                break
        self._text, self._place = "".join(parts), 0
        return len(parts) > 1


# ------------------------------------------------------------------ values


class _NotJsonError(ValueError):
    def __init__(self, error: JSONDecodeError) -> None:
        super().__init__(f"not JSON: {error.msg}")
        self.place, self.in_string = error.pos, error.msg.startswith("Unterminated string")


def _decoder() -> JSONDecoder:
    return JSONDecoder(object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:40]!r} stands twice in one object; leave one")
    return row


def _decoded(decode: Callable[[], Any]) -> Any:
    try:
        return decode()
    except JSONDecodeError as error:
        raise _NotJsonError(error) from error
    except RecursionError as error:
        raise ValueError("not a row (brackets are nested too deeply)") from error
