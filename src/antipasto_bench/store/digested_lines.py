"""Files of one JSON object a line, each with a digest of itself, such as those beside the table of results."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from ..core.errors import Damaged, UserError
from ..core.files import read_regular
from ..core.json_types import Json
from .checked_json import parse_object, with_digest, without_digest
from .table import append_line

M = TypeVar("M", bound=BaseModel)


class Kind(NamedTuple, Generic[M]):
    """What a file holds."""

    model: type[M]
    newest: int  # version that this program reads
    singular: str  # of one, for people
    plural: str


def add_object(path: Path, values: Json) -> None:
    """Append an object; when this returns, its line is on the disk.

    Raises:
        OSError: it could not be written; the file is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    append_line(path, json.dumps(with_digest(values), allow_nan=False).encode() + b"\n")


def read_objects(path: Path, shown: str, kind: Kind[M]) -> Iterator[M]:
    """Every readable object, in the order of the lines; one that is damaged is skipped with a warning.

    Args:
        shown: how messages name the file.

    Raises:
        UserError: a newer version of this program wrote one.
    """
    for number, line in _lines(path):
        try:
            yield read_object(line, kind)
        except ValueError as error:
            text = f"{shown}, line {number}: not a whole {kind.singular}; skipped: {error}"
            warnings.warn(text, Damaged, stacklevel=3)


def checked_objects(path: Path, shown: str, kind: Kind[M]) -> Iterator[M | str]:
    """Every object, and in place of one that cannot be read what is wrong with it."""
    for number, line in _lines(path):
        try:
            yield read_object(line, kind)
        except (ValueError, UserError) as error:
            yield f"{shown}, line {number}: {error}"


def read_object(line: bytes, kind: Kind[M]) -> M:
    """
    Raises:
        ValueError: it is not whole, or not what was written.
        UserError: a newer version of this program wrote it.
    """
    values = without_digest(parse_object(line), required=True)
    version = values.get("schema")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"schema {version!r} is not a version")
    if version > kind.newest:
        raise UserError(f"{kind.plural} of schema {version}; this program reads {kind.newest}; update it")
    try:
        return kind.model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _lines(path: Path) -> list[tuple[int, bytes]]:
    lines = read_regular(path).split(b"\n") if path.exists() else []
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
