"""What is recorded of each question of a run: results/items/<run_id>.parquet."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, get_type_hints

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..core.errors import UserError, first_line
from ..core.files import write_bytes
from ..core.quiet import native_messages_silenced
from .file_digests import ITEMS, read_checked
from .folders import Store
from .record import RunRecord, Score

LOSS_FILTER = "reference"  # of the reference solution's loss, which no answer of the model is needed for
LOSS_METRICS = ("loss", "tokens")  # nats, summed over the completion's tokens; and how many tokens those are
HEADLINE_FILTERS = ("given-answer", "flexible-extract", "none")  # the second: of rows of the first scoring rules
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
    score: float  # 1 right, 0 wrong; under LOSS_FILTER nats, or a number of tokens


_POLARS_TYPES = {str: pl.String, int: pl.Int64, float: pl.Float64}
ITEMS_SCHEMA = {name: _POLARS_TYPES[annotation] for name, annotation in get_type_hints(Item).items()}


def items_frame(items: Iterable[Item]) -> pl.DataFrame:
    return pl.DataFrame([asdict(item) for item in items], schema=ITEMS_SCHEMA)


def headline_of(pairs: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """The filter and metric by which a task's items are ranked.

    Args:
        pairs: every filter with every metric that the items have, in their order. Those of the loss are left out.
    """
    pairs = [(name, metric) for name, metric in dict.fromkeys(pairs) if not _is_loss(name, metric)]
    filters, metrics = [name for name, _ in pairs], [metric for _, metric in pairs]
    name = next((f for f in HEADLINE_FILTERS if f in filters), filters[0])
    return name, next((m for m in HEADLINE_METRICS if m in metrics), metrics[0])


class Group(NamedTuple):
    """What is scored together: the questions of a task's split, by one filter and metric."""

    split: str
    task: str
    filter: str
    metric: str


Groups = dict[Group, pl.DataFrame]  # of each: doc_id, sha1 and score of every question


def grouped(items: pl.DataFrame) -> Groups:
    """The items of each group, in their order; groups come in the order of their first item."""
    parts = items.partition_by(Group._fields)  # as_dict would look for the keys again, in as much time as the parts
    return {Group(*(part.drop_in_place(name)[0] for name in Group._fields)): part for part in parts}


@dataclass(frozen=True)
class QuestionScores:
    """The headline score of each question, in the order of the questions' hashes: the same in every run."""

    questions: tuple[str, ...]  # sha1 of each; one comes twice where a data set has a question twice
    scores: NDArray[np.float64]  # (questions,)


def headline_scores(groups: Groups) -> QuestionScores:
    """The headline scores of a run's questions.

    Args:
        groups: of one task and split.
    """
    name, metric = headline_of((group.filter, group.metric) for group in groups)
    (part,) = (part for group, part in groups.items() if group[2:] == (name, metric))
    order = _order_of(part)
    return QuestionScores(order.questions, part["score"].to_numpy()[order.places])


class _Order(NamedTuple):
    """The order of a group's questions: that of their hashes, and of their numbers where one comes twice."""

    questions: tuple[str, ...]
    places: NDArray[np.intp]  # (questions,), of each in the group


def _order_of(part: pl.DataFrame) -> _Order:
    return _sorted(tuple(part["sha1"].to_list()), tuple(part["doc_id"].to_list()))


@lru_cache(maxsize=64)  # the runs of a table are asked the same questions
def _sorted(sha1s: tuple[str, ...], doc_ids: tuple[int, ...]) -> _Order:
    places = sorted(range(len(sha1s)), key=lambda i: (sha1s[i], doc_ids[i]))
    return _Order(tuple(sha1s[i] for i in places), np.array(places, dtype=np.intp))


def _is_loss(name: str, metric: str) -> bool:
    return name == LOSS_FILTER and metric in LOSS_METRICS


def token_losses(groups: Groups) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Nats and completion tokens of each question's reference solution, in the order of the questions' hashes.

    Args:
        groups: of one task and split.

    Returns:
        None where the loss was not measured.
    """
    of_metric = {group.metric: part for group, part in groups.items() if _is_loss(group.filter, group.metric)}
    if set(of_metric) != set(LOSS_METRICS):
        return None
    nats, tokens = (
        part["score"].to_numpy()[_order_of(part).places] for part in (of_metric[metric] for metric in LOSS_METRICS)
    )
    return (nats, tokens) if len(nats) == len(tokens) else None


def weighted_token_loss(nats: NDArray[np.float64], tokens: NDArray[np.float64]) -> Score:
    """The loss a token over all questions, in nats, and its standard error over the questions.

    With l_q nats and t_q tokens of question q, of n questions: R = sum l / sum t, each token of the same weight. R is a
    ratio of two sums that vary with the questions, so its error is that of the linearised ratio:

        stderr^2 = n / (n - 1) * sum (l_q - R t_q)^2 / (sum t)^2

    (Cochran, Sampling Techniques, 3rd ed. 1977, section 2.11, without the factor for a finite population.)

    Returns:
        (R, stderr); stderr is None for a single question, and both are None where there is no token.
    """
    n, total = len(tokens), math.fsum(tokens.tolist())
    if not total:
        return None, None
    ratio = math.fsum(nats.tolist()) / total
    squares = math.fsum(((nats - ratio * tokens) ** 2).tolist())
    return ratio, math.sqrt(n / (n - 1) * squares) / total if n > 1 else None


def items_of(record: RunRecord, store: Store, split: str, *, twice: bool = False) -> Groups:
    """The items of a run's headline task in a split, with `twice` as in `read_items`.

    Raises:
        UserError: they are missing, or not those that the record was made from.
    """
    try:
        groups = read_items(record, store, twice=twice)
    except ValueError as error:
        path = store.items(record.run_id)
        raise UserError(f"{path}: {error}: its row cannot be backed; restore it or run it again") from error
    return of_split(groups, split, headline_task(record))


def of_split(groups: Groups, split: str, task: str) -> Groups:
    """The groups of one task and split."""
    return {group: part for group, part in groups.items() if group[:2] == (split, task)}


def read_items(record: RunRecord, store: Store, *, twice: bool = False) -> Groups:
    """All items of a run, of the schema, finite, and those that its record was made from.

    That they are is known by the digest of the file, or by that of its content where an older row has no other.

    Args:
        twice: both digests are computed where there are both.

    Raises:
        ValueError: they are not; or its record names no task.
    """
    path = store.items(record.run_id)
    try:
        status = path.stat()
    except OSError:
        stamp = (0, 0)
    else:
        stamp = (status.st_size, status.st_mtime_ns)
    file_digest, task = record.file_sha256.get(ITEMS), headline_task(record)
    return _read_items(path, stamp, record.items_sha256, file_digest, task, twice or file_digest is None)


@lru_cache(maxsize=512)  # a report reads the items of a run several times
def _read_items(
    path: Path, stamp: tuple[int, int], digest: str | None, file_digest: str | None, task: str, by_content: bool
) -> Groups:
    content = read_checked(path, file_digest)
    groups = grouped(parse_items(content, digest, trusted=file_digest is not None, by_content=by_content))
    if all(_is_loss(group.filter, group.metric) for group in of_split(groups, "test", task)):
        raise ValueError(f"holds no test question of {task}")
    return groups


def parse_items(content: bytes, digest: str | None, *, trusted: bool = False, by_content: bool = True) -> pl.DataFrame:
    """Items from a parquet file.

    Args:
        digest: of their content.
        trusted: the bytes are those that were written; otherwise what polars prints of damaged ones is silenced.
        by_content: compute that digest, which takes longer than to read the file.

    Raises:
        ValueError: it is no such file, or its content is another.
    """
    try:
        with nullcontext() if trusted else native_messages_silenced():
            items = pl.read_parquet(content, parallel="none")  # of a few kB: threads would take longer to begin
            own = items_digest(items) if by_content else digest
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(f"cannot be read as parquet: {' '.join(first_line(error).split())[:120]}") from error
    if own is None or own != digest:
        raise ValueError("is not what its row was made from")
    if dict(items.schema) != ITEMS_SCHEMA:
        raise ValueError(f"has the columns {', '.join(items.columns)}; expected {', '.join(ITEMS_SCHEMA)}")
    if any(column.null_count() for column in items) or not _are_scores(items["score"], items["metric"]):
        raise ValueError("holds a score that is none")
    return items


def _are_scores(scores: pl.Series, metrics: pl.Series) -> bool:
    """Whether all are finite, and shares lie from 0 to 1."""
    values = scores.to_numpy()
    beyond = metrics.filter(pl.Series((values < 0) | (values > 1)))
    return bool(np.isfinite(values).all()) and set(HEADLINE_METRICS).isdisjoint(beyond.to_list())


def headline_task(record: RunRecord) -> str:
    """The first task of those that the run was tested on.

    Raises:
        ValueError: its record names none.
    """
    if not record.metrics or not record.metrics.get("test"):
        raise ValueError(f"{record.run_id} has no result")
    return next(iter(record.metrics["test"]))


def write_items(path: Path, items: pl.DataFrame) -> None:
    packed = io.BytesIO()
    items.write_parquet(packed, compression="zstd")
    write_bytes(path, packed.getvalue())  # Python's own write reports a full disk as an OSError


def items_digest(frame: pl.DataFrame) -> str:
    """sha256 of a frame's content, independent of how parquet packs it."""
    return hashlib.sha256(frame.write_ndjson().encode()).hexdigest()
