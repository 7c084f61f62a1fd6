"""Rows of a data set, read from a file, a folder or the hub, and checked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ..core.errors import UserError, first_line
from ..core.paths import locate
from .arrow_rows import read_dataset, read_parquet
from .csv_rows import read_csv
from .hub_sets import FILE_ENDS, commit_of, load_hub_set
from .json_rows import read_json
from .row_columns import TRAIN_FIELDS as TRAIN_FIELDS
from .text_file import check_regular

_JSON = (".json", ".jsonl", ".ndjson")
_CSV = {".csv": ",", ".tsv": "\t"}
_EXPECTED = "a .jsonl, .json, .csv, .tsv (or one of them as .gz) or .parquet file, or a folder of a data set"


@dataclass(frozen=True)
class Origin:
    """Where the rows of a data set come from."""

    lines: Sequence[int] | None = None  # on which each row begins, where the source is a file of text
    in_array: bool = False  # of JSON, where many rows may share a line
    commit: str | None = None  # where it is a hub set
    files: tuple[tuple[str, int, Origin], ...] = ()  # of a folder: name, rows, and their origin

    def place(self, index: int) -> str:
        """The name of a row in its source, such as `line 7`; rows count from 1."""
        for name, count, origin in self.files:
            if index < count:
                return f"{name}, {origin.place(index)}"
            index -= count
        if self.lines is None:
            return f"row {index + 1}"
        line = f"line {self.lines[index]}"
        return f"row {index + 1}, {line}" if self.in_array else line


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
    """All rows of a data set, with these columns of text, and those that `row_columns` reads with them.

    Args:
        reference: a file of JSON lines, of one JSON array, of CSV or TSV (each may be gzip) or of parquet; a folder
            written by `datasets`' save_to_disk, or one of such files, as the hub holds them; or a hub id (`org/name`,
            or `org/name:config`).
        fields: the columns that must be there, all text, none empty.
        split: which split of a folder or of a hub data set.
        revision: branch, tag or commit of a hub set.
        setting: the config field that `revision` comes from, for messages.

    Raises:
        UserError: it is not there, is empty, or a row lacks a field; the line is named, or in parquet the row. Or a
            revision is given for a file, or cannot be had.
    """
    place = locate(reference)
    if place is None:
        loaded = load_hub_set(reference, split, revision, setting)
        return Rows(read_dataset(loaded, fields, reference), Origin(commit=commit_of(loaded)))
    if revision is not None:
        raise UserError(f"{setting}={revision}: {place} is no hub set, and has no revisions; leave out {setting}")
    check_regular(place)
    return _from_folder(place, fields, split) if place.is_dir() else _from_file(place, fields)


def _from_file(path: Path, fields: tuple[str, ...]) -> Rows:
    end = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if path.suffix == ".parquet":
        return Rows(read_parquet(path, fields), Origin())
    if end in _JSON:
        rows, in_array = read_json(path, fields)
    elif end in _CSV:
        rows, in_array = read_csv(path, fields, _CSV[end]), False
    else:
        raise UserError(f"{path}: expected {_EXPECTED}")
    if not rows.lines:
        raise UserError(f"{path}: is empty; expected rows with {', '.join(fields)}")
    return Rows(rows.frame(), Origin(rows.lines, in_array))


# ------------------------------------------------------------------ folders


def _from_folder(folder: Path, fields: tuple[str, ...], split: str) -> Rows:
    for inside in folder.rglob("*"):
        check_regular(inside)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return Rows(read_dataset(_saved(folder, split), fields, str(folder)), Origin())
    split_files = _files_of_split(folder, split)
    _check_inside(folder, split_files)
    parts = [(file, _from_file(file, fields)) for file in split_files]
    files = tuple((os.path.relpath(file, folder), len(rows.frame), rows.origin) for file, rows in parts)
    return Rows(pl.concat([rows.frame for _, rows in parts], how="diagonal"), Origin(files=files))


def _saved(folder: Path, split: str) -> Any:
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except Exception as error:  # whatever `datasets` makes of JSON and Arrow files that it did not write
        raise UserError(f"{folder}: not a folder that datasets' save_to_disk wrote: {first_line(error)}") from error
    rows = _of_split(saved, folder, split) if isinstance(saved, DatasetDict) else saved
    _check_inside(folder, [Path(file["filename"]) for file in rows.cache_files])
    return rows


def _check_inside(folder: Path, files: Iterable[Path]) -> None:
    """Refuse files elsewhere, which a README or a state.json can name: the run's id holds the folder's content alone.

    A link inside the folder may lead elsewhere, as in the cache of the hub.

    Raises:
        UserError: with the first such file.
    """
    for file in files:
        if not Path(os.path.normpath(file)).is_relative_to(folder):
            raise UserError(
                f"{folder}: it takes rows from {file}, which lies outside it; copy that file into the folder"
            )


def _files_of_split(folder: Path, split: str) -> list[Path]:
    """The files of a split, as `datasets` finds them by their names, or by the README of the folder."""
    from datasets import load_dataset_builder

    try:
        with tempfile.TemporaryDirectory() as cache:
            data_files = load_dataset_builder(str(folder), cache_dir=cache).config.data_files
    except Exception as error:  # whatever `datasets` raises of a folder without data, or with a README it cannot read
        raise UserError(
            f"{folder}: not a folder that datasets' save_to_disk wrote, nor one of data files: {first_line(error)}"
        ) from error
    splits = {str(name): [Path(str(file)) for file in files] for name, files in data_files.items()}
    files = _of_split(splits, folder, split)
    for file in files:
        if not file.name.endswith(FILE_ENDS):
            raise UserError(f"{file}: expected {_EXPECTED}")
    return list(files)


def _of_split(splits: Any, folder: Path, split: str) -> Any:
    if split not in splits:
        raise UserError(f"{folder}: has no split {split!r} (it has: {', '.join(splits)})")
    return splits[split]
