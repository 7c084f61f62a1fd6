"""The table of results: one line a run in results/table.ndjson.

A line is appended under a lock, in one write, and flushed to the disk, with a digest of itself. A line that a crash cut
short or a disk damaged is skipped, with a warning, by every reader; it never hides the lines after it. Writers put it
aside into table.torn: the last one where it was cut short, and any other when its run has a row again.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from ..core.errors import Damaged, UserError
from ..core.files import read_regular, write_bytes
from ..core.fingerprint import once_at_rest
from ..core.locks import locked
from ..spec.config import content_of
from .record import SCHEMA, NewerSchema, RunRecord, read_record, record_json

DAMAGED = "damaged"
_RUN_ID = re.compile(rb'"run_id": "([^"]*)"')


def append(table: Path, record: RunRecord) -> None:
    """Add one row to the table; when this returns, the row is on the disk.

    Raises:
        OSError: it could not be written; the table is then as it was.
    """
    append_line(table, _line(record))


def append_line(table: Path, line: bytes) -> None:
    """Add a line, with its line break, to a file of such lines; when this returns, it is on the disk.

    Raises:
        OSError: it could not be written; the file is then as it was.
    """
    with writing(table):
        _append(table, line)


def put(table: Path, record: RunRecord) -> None:
    """Add a row in place of what the table has of its run; a failure does not take the place of a result.

    Raises:
        OSError: it could not be written; the table is then as it was.
    """
    line = _line(record)
    with writing(table):
        lines = read_regular(table).split(b"\n") if table.exists() else []
        earlier = {number: status for number, text in enumerate(lines) if (status := _status_of(text, record.run_id))}
        if record.status != "ok" and "ok" in earlier.values():
            return
        if not earlier:
            _append(table, line)
            return
        damaged = [lines[number] for number, status in earlier.items() if status == DAMAGED]
        if damaged:
            _put_aside(table, damaged)
        first, *others = earlier
        lines[first] = line.rstrip(b"\n")
        remaining = [text for number, text in enumerate(lines) if number not in others]
        if lines[-1] and first == len(lines) - 1:  # it was cut short, and has an end now
            remaining.append(b"")
        write_bytes(table, b"\n".join(remaining))


@contextmanager
def writing(table: Path) -> Iterator[None]:
    """The only writer of the table, in whichever process."""
    with locked(table.with_suffix(".lock")):
        yield


def _status_of(line: bytes, run_id: str) -> str | None:
    """The status of a line that is of this run, DAMAGED where it cannot be read; None for any other."""
    if json.dumps(run_id).encode() not in line:
        return None
    try:
        record = read_record(line)
    except NewerSchema as error:
        return "newer" if error.run_id == run_id else None
    except ValueError:
        return DAMAGED if _RUN_ID.findall(line) == [run_id.encode()] else None  # and of no other run beside it
    return str(record.status) if record.run_id == run_id else None


def _line(record: RunRecord) -> bytes:
    return json.dumps(record_json(record), allow_nan=False).encode() + b"\n"


def _append(table: Path, line: bytes) -> None:
    handle = os.open(table, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = _without_torn_end(table, handle)
        try:
            _write_all(handle, line)
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)  # a full disk leaves no half line behind
            raise
    finally:
        os.close(handle)


def _without_torn_end(table: Path, handle: int) -> int:
    """Put what a dead writer left after the last line break aside; the table's size without it."""
    size = os.fstat(handle).st_size
    if size == 0 or os.pread(handle, 1, size - 1) == b"\n":
        return size
    whole = read_regular(table)
    end = whole.rfind(b"\n") + 1
    _put_aside(table, [whole[end:]])
    os.ftruncate(handle, end)
    warnings.warn(
        f"{table}: the last line was cut short; it is kept in {table.with_suffix('.torn').name}", stacklevel=2
    )
    return end


def _put_aside(table: Path, lines: list[bytes]) -> None:
    with open(table.with_suffix(".torn"), "ab") as aside:
        aside.writelines(line + b"\n" for line in lines)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def read_records(table: Path) -> list[RunRecord]:
    """Every readable record, one a run id, in the order in which the runs were first recorded.

    Of several records of a run the latest counts, but a failure never hides a result. Two results that differ are
    reported by a warning: this program writes one. So is a line that is not a whole record; it is skipped.

    Raises:
        UserError: the table was written by a newer version of this program.
    """
    return list(once_at_rest("table", str(table), lambda: _read_records(table)))


def _read_records(table: Path) -> list[RunRecord]:
    records: list[RunRecord] = []
    results: dict[str, RunRecord] = {}
    lines = read_regular(table).split(b"\n") if table.exists() else []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = read_record(line)
        except NewerSchema as error:
            raise UserError(f"{table}, line {number}: {error}") from error
        except ValueError as error:
            warnings.warn(f"{table.name}, line {number}: not a whole row; skipped: {error}", Damaged, stacklevel=5)
            continue
        records.append(record)
        if record.status == "ok" and results.setdefault(record.run_id, record) != record:
            counts = f"another result of {record.run_id}; it counts, the earlier one is left out"
            warnings.warn(f"{table.name}, line {number}: {counts}", Damaged, stacklevel=5)
            results[record.run_id] = record
    return that_count(records)


def that_count(records: Iterable[RunRecord]) -> list[RunRecord]:
    """One record a run: the latest, but a failure never hides a result."""
    counting: dict[str, RunRecord] = {}
    for record in records:
        earlier = counting.get(record.run_id)
        if earlier is None or record.status == "ok" or earlier.status != "ok":
            counting[record.run_id] = record
    return list(counting.values())


def read_table(table: Path) -> pl.DataFrame:
    """`read_records` as a frame; `metrics`, `config` and `provenance` are JSON text in it."""
    return pl.DataFrame([record.to_row() for record in read_records(table)], schema=SCHEMA, strict=True)


def find_same(table: Path, run_id: str) -> RunRecord | None:
    """The record of a run, or of a finished one with the same content under another name of its model's folder."""
    return same_run({record.run_id: record for record in read_records(table)}, run_id)


def recorded_id(table: Path, run_id: str) -> str:
    """The id of the row that `find_same` gives; the id itself where there is none."""
    earlier = find_same(table, run_id)
    return run_id if earlier is None else earlier.run_id


def same_run(records: Mapping[str, RunRecord], run_id: str) -> RunRecord | None:
    """The record of an id; or else the first finished one whose id differs in the name of the model's folder alone.

    Args:
        records: by id.
    """
    if run_id in records:
        return records[run_id]
    content = content_of(run_id)
    copies = (record for key, record in records.items() if content_of(key) == content and record.status == "ok")
    return next(copies, None)


def find(table: Path, run_id: str) -> RunRecord | None:
    """The record of a run; None where it was never recorded."""
    return next((record for record in read_records(table) if record.run_id == run_id), None)
