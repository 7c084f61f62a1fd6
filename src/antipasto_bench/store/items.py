"""What is kept of each question of a run: results/items/<run_id>.parquet."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..core.errors import UserError
from ..core.files import write_bytes
from .folders import Store

HEADLINE_FILTERS = ("flexible-extract", "none")


HEADLINE_METRICS = ("exact_match", "acc")


ITEMS_SCHEMA = {
    "split": pl.String,
    "task": pl.String,
    "doc_id": pl.Int64,
    "sha1": pl.String,  # of the question's text
    "filter": pl.String,
    "metric": pl.String,
    "score": pl.Float64,  # 1 right, 0 wrong
}


def headline_of(items: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """The filter and metric by which a task's items are ranked."""
    pairs = list(dict.fromkeys((item["filter"], item["metric"]) for item in items))
    filters, metrics = [name for name, _ in pairs], [metric for _, metric in pairs]
    name = next((f for f in HEADLINE_FILTERS if f in filters), filters[0])
    return name, next((m for m in HEADLINE_METRICS if m in metrics), metrics[0])


def headline_scores(items: pl.DataFrame) -> NDArray[np.float64]:
    """The headline score of each question, in the questions' order."""
    name, metric = headline_of(items.to_dicts())
    return items.filter((pl.col("filter") == name) & (pl.col("metric") == metric)).sort("doc_id")["score"].to_numpy()


def items_of(row: dict[str, Any], store: Store, split: str) -> pl.DataFrame:
    """The items of a run's headline task in a split.

    Raises:
        UserError: they are missing, or not those that the row was made from.
    """
    path = store.items(row["run_id"])
    if not path.exists():
        raise UserError(f"{path} is missing: the table's row for it cannot be backed; restore it or run it again")
    items = pl.read_parquet(path)
    if items_digest(items) != row["items_sha256"]:
        raise UserError(f"{path} is not what the table's row for it was made from; restore it or run it again")
    task = next(iter(row["metrics"]["test"]))
    return items.filter((pl.col("split") == split) & (pl.col("task") == task))


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    packed = io.BytesIO()
    frame.write_parquet(packed, compression="zstd")
    write_bytes(path, packed.getvalue())  # Python's own write reports a full disk as an OSError


def items_digest(frame: pl.DataFrame) -> str:
    """sha256 of a frame's content, independent of how parquet packs it."""
    return hashlib.sha256(frame.write_ndjson().encode()).hexdigest()
