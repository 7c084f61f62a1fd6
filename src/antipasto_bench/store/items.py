"""What is recorded of each question of a run: results/items/<run_id>.parquet."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_type_hints

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..core.errors import UserError
from ..core.files import write_bytes
from .folders import Store
from .record import RunRecord

HEADLINE_FILTERS = ("flexible-extract", "none")
HEADLINE_METRICS = ("exact_match", "acc")


@dataclass(frozen=True)
class Item:
    """One question's score under one filter and metric."""

    split: str
    task: str
    doc_id: int
    sha1: str  # of the question's text
    filter: str
    metric: str
    score: float  # 1 right, 0 wrong


_POLARS_TYPES = {str: pl.String, int: pl.Int64, float: pl.Float64}
ITEMS_SCHEMA = {name: _POLARS_TYPES[annotation] for name, annotation in get_type_hints(Item).items()}


def items_frame(items: Iterable[Item]) -> pl.DataFrame:
    return pl.DataFrame([asdict(item) for item in items], schema=ITEMS_SCHEMA)


def headline_of(pairs: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The filter and metric by which a task's items are ranked.

    Args:
        pairs: every filter with every metric that the items have, in their order.
    """
    pairs = list(dict.fromkeys(pairs))
    filters, metrics = [name for name, _ in pairs], [metric for _, metric in pairs]
    name = next((f for f in HEADLINE_FILTERS if f in filters), filters[0])
    return name, next((m for m in HEADLINE_METRICS if m in metrics), metrics[0])


@dataclass(frozen=True)
class QuestionScores:
    """The headline score of each question, in the order of the questions' hashes: the same in every run."""

    questions: tuple[str, ...]  # sha1 of each; one comes twice where a data set has a question twice
    scores: NDArray[np.float64]  # (questions,)


def headline_scores(items: pl.DataFrame) -> QuestionScores:
    """The headline scores of a run's items in one split."""
    name, metric = headline_of(items.select("filter", "metric").unique(maintain_order=True).iter_rows())
    headline = items.filter((pl.col("filter") == name) & (pl.col("metric") == metric)).sort("sha1", "doc_id")
    return QuestionScores(tuple(headline["sha1"]), headline["score"].to_numpy())


def items_of(record: RunRecord, store: Store, split: str) -> pl.DataFrame:
    """The items of a run's headline task in a split.

    Raises:
        UserError: they are missing, or not those that the record was made from.
    """
    path = store.items(record.run_id)
    if not path.exists():
        raise UserError(f"{path} is missing: the table's row for it cannot be backed; restore it or run it again")
    items = pl.read_parquet(path)
    if items_digest(items) != record.items_sha256:
        raise UserError(f"{path} is not what the table's row for it was made from; restore it or run it again")
    return items.filter((pl.col("split") == split) & (pl.col("task") == headline_task(record)))


def headline_task(record: RunRecord) -> str:
    """The first task of those that the run was tested on."""
    assert record.metrics is not None, f"{record.run_id} has no result"
    return next(iter(record.metrics["test"]))


def write_items(path: Path, items: pl.DataFrame) -> None:
    packed = io.BytesIO()
    items.write_parquet(packed, compression="zstd")
    write_bytes(path, packed.getvalue())  # Python's own write reports a full disk as an OSError


def items_digest(frame: pl.DataFrame) -> str:
    """sha256 of a frame's content, independent of how parquet packs it."""
    return hashlib.sha256(frame.write_ndjson().encode()).hexdigest()
