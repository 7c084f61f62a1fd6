"""Rows of a data set, read from a file, a saved dataset or the hub, and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ..core.errors import UserError, first_line
from ..core.paths import locate
from .hub_sets import commit_of, load_hub_set

TRAIN_FIELDS = ("query", "response")


@dataclass(frozen=True)
class Origin:
    """Where the rows of a data set come from."""

    lines: tuple[int, ...] | None = None  # of each row, where the source is a .jsonl file
    commit: str | None = None  # where it is a hub set

    def place(self, index: int) -> str:
        """The name of a row in its source, such as `line 7`; rows count from 1."""
        return f"row {index + 1}" if self.lines is None else f"line {self.lines[index]}"


@dataclass(frozen=True)
class Rows:
    """All rows of a data set."""

    frame: pl.DataFrame
    origin: Origin


def read_rows(reference: str, fields: tuple[str, ...], split: str = "train") -> pl.DataFrame:
    """All rows of a data set, as `read_source` reads them."""
    return read_source(reference, fields, split).frame


def read_source(
    reference: str, fields: tuple[str, ...], split: str, revision: str | None = None, setting: str = "data.revision"
) -> Rows:
    """All rows of a data set, with at least these text columns.

    Args:
        reference: a .jsonl or .parquet file, a folder written by `datasets`' save_to_disk, or a hub id
            (`org/name`, or `org/name:config`).
        fields: the columns that must be there, all text, none empty.
        split: which split of a folder or of a hub data set.
        revision: branch, tag or commit of a hub set.
        setting: the config field that `revision` comes from, for messages.

    Raises:
        UserError: it is not there, is empty, or a row lacks a field; for jsonl the line is named. Or a revision is
            given for a file, or cannot be had.
    """
    place = locate(reference)
    if place is None:
        loaded = load_hub_set(reference, split, revision, setting)
        return Rows(_checked(pl.DataFrame(loaded.to_polars()), fields, reference), Origin(commit=commit_of(loaded)))
    if revision is not None:
        raise UserError(f"{setting}={revision}: {place} is no hub set, and has no revisions; leave out {setting}")
    if place.is_dir():
        return Rows(_checked(_from_folder(place, split), fields, str(place)), Origin())
    if place.suffix == ".parquet":
        try:
            return Rows(_checked(pl.read_parquet(place), fields, str(place)), Origin())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise UserError(f"{place}: cannot be read as parquet: {first_line(error)}") from error
    if place.suffix in (".jsonl", ".ndjson"):
        return _from_jsonl(place, fields)
    raise UserError(f"{place}: expected a .jsonl or .parquet file, or a saved dataset folder")


def _from_jsonl(path: Path, fields: tuple[str, ...]) -> Rows:
    rows, numbers = [], []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:  # not JSON, or not UTF-8
                raise UserError(f"{path}, line {number}: not JSON ({error})") from error
            for field in fields:
                if not isinstance(row, dict) or not isinstance(row.get(field), str) or not row[field].strip():
                    raise UserError(f"{path}, line {number}: no text under {field!r}; expected {', '.join(fields)}")
            rows.append({k: v for k, v in row.items() if isinstance(v, str)})
            numbers.append(number)
    if not rows:
        raise UserError(f"{path}: is empty; expected one JSON object a line with {', '.join(fields)}")
    return Rows(pl.DataFrame(rows, infer_schema_length=None), Origin(tuple(numbers)))


def _from_folder(folder: Path, split: str) -> pl.DataFrame:
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except Exception as error:  # whatever JSON of another form makes of its reading
        raise UserError(f"{folder}: not a folder that datasets' save_to_disk wrote: {first_line(error)}") from error
    if isinstance(saved, DatasetDict):
        if split not in saved:
            raise UserError(f"{folder}: has no split {split!r} (it has: {', '.join(saved)})")
        saved = saved[split]
    return pl.DataFrame(saved.to_polars())


def _checked(frame: pl.DataFrame, fields: tuple[str, ...], name: str) -> pl.DataFrame:
    if frame.is_empty():
        raise UserError(f"{name}: is empty; expected rows with {', '.join(fields)}")
    for field in fields:
        if field not in frame.columns:
            raise UserError(f"{name}: has no column {field!r} (it has: {', '.join(frame.columns)})")
        if frame.schema[field] != pl.String:
            raise UserError(f"{name}: column {field!r} is {frame.schema[field]}, expected text")
        empty = frame.select(pl.arg_where(pl.col(field).fill_null("").str.strip_chars() == "")).to_series()
        if len(empty):
            raise UserError(f"{name}: row {empty[0] + 1} has no text under {field!r}")
    return frame
