"""The evidence on disk: one line a run in table.ndjson, one parquet of questions a run in items/.

A line is appended under a lock, in one write, and flushed to the disk. A line that a crash cut short is skipped, with a
warning, by every reader, and put aside into table.torn by the next writer; it never hides the lines after it.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock

from ..core.errors import UserError
from ..core.files import write_bytes

SCHEMA_VERSION = 2
ITEMS, RECORD = "items.parquet", "record.json"  # in a run's folder in outputs/: what results/ are rebuilt from

# What is measured of an adapter beside its base, see measured_cost; null where a variant has no such cost.
COSTS: dict[str, Any] = {
    "forward_ms": pl.Float64,  # median over turns, one batch
    "backward_ms": pl.Float64,
    "base_forward_ms": pl.Float64,
    "base_backward_ms": pl.Float64,
    "priced_tokens": pl.Int64,  # of that batch, padding included
    "saved_bytes": pl.Int64,  # kept for backward, beside the model's own tensors
    "base_saved_bytes": pl.Int64,
    "peak_bytes": pl.Int64,  # of attaching and training steps: resident set of the process, or allocated on the GPU
    "attach_cold_s": pl.Float64,  # without cached SVDs, calibration included
    "attach_warm_s": pl.Float64,  # with them
    "merge_s": pl.Float64,
    "generated_tokens_per_s": pl.Float64,  # unmerged
    "base_generated_tokens_per_s": pl.Float64,
}

# The table's columns. `config` and `provenance` and `metrics` are JSON text in the frame, objects in the file.
SCHEMA: dict[str, Any] = {
    "schema": pl.Int64,
    "run_id": pl.String,
    "status": pl.String,  # ok | failed
    "error": pl.String,  # why it failed
    "model": pl.String,
    "variant": pl.String,
    "rank": pl.Int64,
    "lr": pl.Float64,
    "seed": pl.Int64,
    "steps": pl.Int64,
    "protocol": pl.String,  # shared by runs that differ in adapter, lr and seed alone
    "scoring": pl.String,  # shared by runs that score the same model alike, however trained
    "arm": pl.String,  # shared by runs that differ in seed alone
    "test_accuracy": pl.Float64,  # flexible-extract, 0 to 1
    "test_stderr": pl.Float64,
    "test_strict": pl.Float64,
    "test_strict_stderr": pl.Float64,
    "test_n": pl.Int64,
    "valid_accuracy": pl.Float64,
    "valid_stderr": pl.Float64,
    "valid_strict": pl.Float64,
    "valid_n": pl.Int64,
    "general_loss_base": pl.Float64,  # nats a token of general text, before the adapter was attached
    "general_loss": pl.Float64,  # and with the trained adapter
    "general_tokens": pl.Int64,
    "trained_parameters": pl.Int64,
    "added_macs_per_token": pl.Int64,
    "adapter_bytes": pl.Int64,
    **COSTS,
    "first_loss": pl.Float64,
    "last_loss": pl.Float64,
    "mean_grad_norm": pl.Float64,
    "processes": pl.Int64,  # that trained and scored it together
    "train_tokens": pl.Int64,  # without padding
    "train_tokens_per_s": pl.Float64,
    "load_s": pl.Float64,
    "attach_s": pl.Float64,
    "train_s": pl.Float64,
    "eval_s": pl.Float64,  # test and validation
    "total_s": pl.Float64,  # but for the measuring of costs
    "measure_s": pl.Float64,  # forgetting and costs
    "finished_at": pl.String,  # UTC, ISO 8601
    "items_sha256": pl.String,  # of items/<run_id>.parquet's content, see items_digest
    "metrics": pl.String,  # every task, filter and metric that was asked for
    "config": pl.String,
    "provenance": pl.String,
}
NESTED = ("metrics", "config", "provenance")

# From a version of the schema to the next.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda row: row | {"processes": 1},  # several could not make a run together then
}


def migrated(row: dict[str, Any]) -> dict[str, Any]:
    """A row as this version of the schema has it; one of a newer version as it stands.

    Raises:
        KeyError: a version that never was.
    """
    while row["schema"] < SCHEMA_VERSION:
        row = MIGRATIONS[row["schema"]](row) | {"schema": row["schema"] + 1}
    return row


def append(table: Path, row: dict[str, Any]) -> None:
    """Add one row to the table; when this returns, the row is on the disk.

    Raises:
        OSError: it could not be written; the table is then as it was.
    """
    line = _line(row)
    with _writing(table):
        _append(table, line)


def put(table: Path, row: dict[str, Any]) -> None:
    """Add a row in place of what the table has of its run; a failure does not take the place of a result.

    Raises:
        OSError: it could not be written; the table is then as it was.
    """
    line = _line(row)
    with _writing(table):
        lines = table.read_bytes().split(b"\n") if table.exists() else []
        earlier = {number: found for number, text in enumerate(lines) if (found := _of(text, row["run_id"]))}
        if row["status"] != "ok" and "ok" in earlier.values():
            return
        if not earlier:
            _append(table, line)
            return
        first, *others = earlier
        lines[first] = line.rstrip(b"\n")
        kept = [text for number, text in enumerate(lines) if number not in others]
        write_bytes(table, b"\n".join(kept))


@contextmanager
def _writing(table: Path) -> Iterator[None]:
    """The only writer of the table, in whichever process."""
    table.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(table.with_suffix(".lock")):
        yield


def _of(line: bytes, run_id: str) -> str | None:
    """The status of a line that is of this run; None for any other."""
    if json.dumps(run_id).encode() not in line:
        return None
    try:
        row = json.loads(line)
        return str(row["status"]) if row["run_id"] == run_id else None
    except (ValueError, KeyError, TypeError):
        return None


def _line(row: dict[str, Any]) -> bytes:
    unknown = row.keys() - SCHEMA.keys()
    if unknown:
        raise ValueError(f"not in the results schema: {sorted(unknown)}")
    return json.dumps({"schema": SCHEMA_VERSION} | row, allow_nan=False).encode() + b"\n"


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
    whole = table.read_bytes()
    end = whole.rfind(b"\n") + 1
    with open(table.with_suffix(".torn"), "ab") as aside:
        aside.write(whole[end:] + b"\n")
    os.ftruncate(handle, end)
    warnings.warn(
        f"{table}: the last line was cut short; it is kept in {table.with_suffix('.torn').name}", stacklevel=2
    )
    return end


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def read_table(table: Path) -> pl.DataFrame:
    """Every readable row, one a run id, in the order in which the runs were first recorded.

    Of a run that was made again the latest row counts, but a failure never hides a result. A line that is not a
    whole row is reported by a warning and skipped.

    Raises:
        UserError: the table was written by a newer version of this program.
    """
    rows: dict[str, dict[str, Any]] = {}
    lines = table.read_bytes().split(b"\n") if table.exists() else []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = parsed(line)
        except ValueError:
            warnings.warn(f"{table}, line {number}: not a whole row; skipped", stacklevel=2)
            continue
        run_id = row["run_id"]
        if row["schema"] != SCHEMA_VERSION:
            raise UserError(
                f"{table}, line {number}: schema {row['schema']}, this program reads {SCHEMA_VERSION}; update it"
            )
        if row["status"] == "ok" or rows.get(run_id, row)["status"] != "ok":
            rows[run_id] = row
    return pl.DataFrame(list(rows.values()), schema=SCHEMA, strict=True)


def parsed(line: bytes) -> dict[str, Any]:
    """A line as a row of the frame, nested columns as text, older ones migrated; of a newer schema, as it stands.

    Raises:
        ValueError: it is not a whole row.
    """
    try:
        row = migrated(json.loads(line))
        if row["schema"] == SCHEMA_VERSION:
            if row["status"] not in ("ok", "failed"):
                raise ValueError(row["status"])
            row = {k: json.dumps(v, sort_keys=True) if k in NESTED else v for k, v in row.items()}
            pl.DataFrame([row], schema=SCHEMA, strict=True)
        return {"run_id": str(row["run_id"])} | dict(row)
    except (KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise ValueError(str(error)) from error


def find(table: Path, run_id: str) -> dict[str, Any] | None:
    """The row of a run, nested columns parsed; None where it was never recorded."""
    found = read_table(table).filter(pl.col("run_id") == run_id).to_dicts()
    return {k: json.loads(v) if k in NESTED and v is not None else v for k, v in found[0].items()} if found else None
