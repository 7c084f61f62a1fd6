"""YAML that users write: presets, sweep files, defaults of variants, values of words. Nothing else here reads YAML.

A small part of YAML is read: mappings with text as keys, lists, and scalars as `core/scalars.py` reads them. Tags are
refused, so nothing but plain values is constructed; so is a key that comes twice. Bytes, nesting and nodes, where an
alias counts as what it stands for, have bounds.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError
from .json_types import Json
from .scalars import NULLS, read_scalar

MOST_BYTES = 200_000
MOST_NODES = 5_000
DEEPEST = 20
_TEXT_TAG = "tag:yaml.org,2002:str"

IsText = Callable[[tuple[str, ...]], bool]  # whether the value at a path of keys is text, whatever it looks like


class NotPlainError(ValueError):
    """YAML of a kind that is not read; the message is one line."""


def read_mapping(path: Path, is_text: IsText = lambda keys: False) -> Json:
    """The mapping that a YAML file holds.

    Args:
        is_text: says where an unquoted 1e5 or 007 is text as written. `null` is null there too.

    Raises:
        UserError: it cannot be read, is no such file, or holds anything else; the message names the file.
    """
    values = _read(path, is_text)
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping of keys to values")
    return values


def _read(path: Path, is_text: IsText) -> Any:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or a device can wait for ever
            raise UserError(f"{path}: is not a file")
        if status.st_size > MOST_BYTES:
            raise UserError(f"{path}: has {status.st_size:,} bytes; a file of settings has at most {MOST_BYTES:,}")
        return parse(path.read_bytes().decode("utf-8"), is_text)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start + 1})") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or type(error).__name__}") from error
    except NotPlainError as error:
        raise UserError(f"{path}: {error}") from error


def parse(text: str, is_text: IsText = lambda keys: False) -> Any:
    """The value that a text of YAML stands for.

    Raises:
        NotPlainError: it is no YAML, or of a kind that is not read; with the line where it is of several lines.
    """
    try:
        return _Reader(text, is_text).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it is no YAML"
        raise NotPlainError(f"{_line(mark)}cannot be read as YAML: {problem}") from error


def _line(mark: Any) -> str:
    return "" if mark is None else f"line {mark.line + 1}: "


class _Reader:
    """Builds values from the parser's events, one by one, so that no limit is passed before it is noticed."""

    def __init__(self, text: str, is_text: IsText) -> None:
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)
        self._is_text = is_text
        self._anchors: dict[str, tuple[Any, int]] = {}  # value and nodes
        self._nodes = 0

    def document(self) -> Any:
        next(self._events)  # the stream begins
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise NotPlainError("is empty")
        value = self._value(next(self._events), ())
        next(self._events)  # the document ends
        if not isinstance(next(self._events), yaml.StreamEndEvent):
            raise NotPlainError("holds several documents; write one, without ---")
        return value

    def _value(self, event: Any, keys: tuple[str, ...], depth: int = 0) -> Any:
        begun = self._nodes
        self._count(1, event)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise NotPlainError(f"{_line(event.start_mark)}*{event.anchor}: no such anchor; quote it if it is text")
            value, nodes = self._anchors[event.anchor]
            self._count(nodes, event)
            return value
        if event.tag is not None and event.tag != _TEXT_TAG:
            raise NotPlainError(
                f"{_line(event.start_mark)}tags such as {event.tag[:60]} are not read; write the plain value"
            )
        if depth > DEEPEST:
            raise NotPlainError(f"{_line(event.start_mark)}is nested more than {DEEPEST} levels deep")
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, keys)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
                value.append(self._value(inner, keys, depth + 1))
        else:
            value = self._mapping(keys, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._nodes - begun)
        return value

    def _mapping(self, keys: tuple[str, ...], depth: int) -> Json:
        values: Json = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise NotPlainError(f"{_line(event.start_mark)}a key must be text")
            key = self._value(event, ())
            if not isinstance(key, str):
                raise NotPlainError(f"{_line(event.start_mark)}a key must be text, not {event.value[:60] or 'nothing'}")
            if key in values:
                raise NotPlainError(f"{_line(event.start_mark)}{key} is given twice")
            values[key] = self._value(next(self._events), (*keys, key), depth + 1)
        return values

    def _scalar(self, event: Any, keys: tuple[str, ...]) -> Any:
        if not event.implicit[0] or (self._is_text(keys) and event.value not in NULLS):
            return event.value
        try:
            return read_scalar(event.value)
        except ValueError as error:
            name = f"{keys[-1]}=" if keys else ""
            raise NotPlainError(f"{_line(event.start_mark)}{name}{event.value[:60]}: {error}") from error

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise NotPlainError(f"{_line(event.start_mark)}holds more than {MOST_NODES:,} values, aliases written out")
