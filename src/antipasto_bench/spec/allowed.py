"""What a setting may be, in words: said where a value does not fit."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_KINDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_BOUNDS = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
_LONGEST = 80  # characters of a value that are shown


def allowed(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """The values of a type in words, such as `a whole number of at least 1, or null`.

    Args:
        annotation: of a config's field.
        metadata: of the field, of which pydantic's bounds count.
    """
    notes = list(metadata)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        own = [note for each in inner[1:] for note in (each.metadata if isinstance(each, FieldInfo) else [each])]
        return allowed(inner[0], [*notes, *own])
    if origin in (Union, types.UnionType):
        return ", or ".join("null" if each is type(None) else allowed(each, notes) for each in inner)
    if origin is Literal:
        values = [str(value) for value in inner]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if origin is not None and issubclass(origin, Sequence):
        kind = "whole numbers" if int in inner else "texts"
        return f"a list of {kind}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a mapping of keys to values"
    bounds = [
        f"{words} {bound:g}" if isinstance(bound, float) else f"{words} {bound}"
        for name, words in _BOUNDS.items()
        for note in notes
        if (bound := getattr(note, name, None)) is not None
    ]
    return " ".join([_KINDS.get(annotation, "another value"), " and ".join(bounds)]).strip()


def shown(value: object) -> str:
    """A value as a user writes it."""
    text = json.dumps(value) if value is None or isinstance(value, bool | list | dict) else str(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def key_of(error: ValidationError, model: type[BaseModel]) -> str:
    """The key, as a user types it, that the first problem is about."""
    return ".".join(name for name, _ in _fields(error, model))


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem: the key as typed, the value that was given, and what may stand there.

    Args:
        model: that the values were read into.
    """
    first, fields = error.errors()[0], _fields(error, model)
    key = key_of(error, model)
    if first["type"] == "missing":
        return f"{key} is not set; write {key}=VALUE"
    if not fields or first["type"] == "extra_forbidden":
        return f"unknown key {'.'.join(str(part) for part in first['loc'])!r}"
    _, field = fields[-1]
    expected = allowed(field.annotation, field.metadata)
    return f"{key}={shown(first['input'])}: expected {expected}"


def _fields(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """The fields on the way to the first problem; what pydantic adds to it, of items and unions, is no field."""
    fields: list[tuple[str, FieldInfo]] = []
    inside: Any = model
    for part in error.errors()[0]["loc"]:
        if not (isinstance(inside, type) and issubclass(inside, BaseModel)) or part not in inside.model_fields:
            break
        field = inside.model_fields[str(part)]
        fields.append((str(part), field))
        inside = field.annotation
    return fields
