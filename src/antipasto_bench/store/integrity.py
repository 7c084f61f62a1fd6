"""Whether results/ are whole, and how they are made whole again from what outputs/ keeps."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from typing import Any

import polars as pl

from ..core.errors import UserError
from ..core.files import write_bytes
from .folders import Store
from .items import headline_scores, items_digest
from .recording import recorded
from .table import ITEMS, RECORD, SCHEMA_VERSION, parsed, put, read_table


def verify(store: Store) -> list[str]:
    """Everything that is wrong with the results, a line each; nothing is changed.

    Every line of the table is a whole row of a known schema; no run has two results; every result has its questions,
    and they are those it was made from and give its accuracy; no questions lie about without a row.
    """
    found: list[str] = []
    results: Counter[str] = Counter()
    foreign = False
    lines = store.table.read_bytes().split(b"\n") if store.table.exists() else []
    if not any(line.strip() for line in lines):
        return [f"{store.table} holds no run"]
    if lines[-1]:
        found.append("the last line was cut short; the next run that is recorded puts it aside")
    for number, line in enumerate(lines[:-1], start=1):
        if not line.strip():
            continue
        try:
            row = parsed(line)
        except ValueError:
            found.append(f"line {number}: not a whole row")
            continue
        if row["schema"] != SCHEMA_VERSION:
            found.append(f"line {number}: {row['run_id']}: schema {row['schema']}, expected {SCHEMA_VERSION}")
            foreign = True
        results[row["run_id"]] += row.get("status") == "ok"
    found += [f"{run_id}: {count} results; one is expected" for run_id, count in results.items() if count > 1]
    known = {run_id for run_id, count in results.items() if count}
    if not foreign:
        with warnings.catch_warnings(action="ignore"):  # of lines that are named above
            rows = read_table(store.table).filter(pl.col("status") == "ok")
        found += [problem for row in rows.iter_rows(named=True) for problem in _items(row, store)]
    folder = store.items("x").parent
    strays = sorted(path.stem for path in folder.glob("*.parquet") if path.stem not in known)
    return found + [
        f"{run_id}: questions without a row; `antipasto-bench results rebuild` may know it" for run_id in strays
    ]


def _items(row: dict[str, Any], store: Store) -> list[str]:
    run_id, path = row["run_id"], store.items(row["run_id"])
    if not path.exists():
        return [f"{run_id}: {path} is missing"]
    try:
        items = pl.read_parquet(path)
        digest = items_digest(items)
    except (OSError, pl.exceptions.PolarsError) as error:
        return [f"{run_id}: {path} cannot be read: {' '.join(str(error).split())[:120]}"]
    if digest != row["items_sha256"]:
        return [f"{run_id}: {path} is not what its row was made from"]
    task = next(iter(json.loads(row["metrics"])["test"]))
    accuracy = headline_scores(items.filter((pl.col("split") == "test") & (pl.col("task") == task))).mean()
    if abs(accuracy - row["test_accuracy"]) > 1e-9:
        return [f"{run_id}: its questions give {accuracy:.4f}, its row says {row['test_accuracy']:.4f}"]
    return []


def rebuild(store: Store) -> list[str]:
    """Bring every finished run of outputs/ that results/ lack back into them; what they have stays as it is.

    Returns:
        the runs that were brought back.

    Raises:
        UserError: outputs/ hold no record of any run.
    """
    from .recording import record

    records = sorted(store.outputs.glob(f"*/{RECORD}"))
    if not records:
        raise UserError(
            f"{store.outputs} holds no record of a run; give the folder that the runs were made in: --outputs"
        )
    rows = {row["run_id"]: row for row in read_table(store.table).iter_rows(named=True)}
    brought: list[str] = []
    for path in records:
        try:
            kept = recorded(path.parent)
            run_id, status = kept["run_id"], kept["status"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        earlier = rows.get(run_id)
        if status == "failed" and earlier is None:
            put(store.table, kept)
        elif status == "ok" and (path.parent / ITEMS).exists():
            if earlier is None or earlier["status"] != "ok":
                record(run_id, store)
            elif _items(earlier, store):
                items = pl.read_parquet(path.parent / ITEMS)
                if items_digest(items) != earlier["items_sha256"]:
                    continue
                write_bytes(store.items(run_id), (path.parent / ITEMS).read_bytes())
            else:
                continue
        else:
            continue
        brought.append(run_id)
    return brought
