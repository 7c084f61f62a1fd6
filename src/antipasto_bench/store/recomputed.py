"""What a row says of its run, computed again from its questions and from its own config."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import polars as pl

from antipasto import REGISTRY

from ..core.errors import UserError
from ..spec.config import BASE, RunConfig
from .items import HEADLINE_METRICS, LOSS_FILTER, headline_of, headline_task, token_losses, weighted_token_loss
from .record import RunRecord, Score

CLOSE = 1e-9  # by which two sums of the same scores may differ
_ID = re.compile(
    r"(?P<model>.+?)__(?P<variant>[a-z0-9_]+?)(__rot(?P<basis>[A-Za-z]+))?(__r(?P<rank>\d+|full))?"
    r"(__lr(?P<lr>[0-9.e+-]+)__s(?P<steps>\d+))?(__seed(?P<seed>\d+))?__[0-9a-f]{8}"
)
Value = float | int | str | None


def disagreements(record: RunRecord, items: pl.DataFrame) -> Iterator[str]:
    """What a row says otherwise than its questions and its config do, a text each that begins with the field.

    Args:
        record: of a run with a result.
        items: all of its questions, as `read_items` gives them.
    """
    yield from incoherent(record)
    for name, given in _scores(record, items).items():
        own: Value = getattr(record, name)
        if not same(own, given):
            yield f"{name} is {_text(own)}, its questions give {_text(given)}"
    yield from _metrics_problems(record, items)


def incoherent(record: RunRecord) -> Iterator[str]:
    """What the fields of a row contradict in each other, whether or not the run has a result."""
    yield from _status_problems(record)
    unread = _unread_adapter(record.config)
    if unread is not None:
        yield unread
        return
    yield from _column_problems(record)
    yield from _id_problems(record)
    yield from _digest_problems(record)


def same(own: Value, given: Value) -> bool:
    """Whether two values are one, sums of floats up to their rounding."""
    if isinstance(own, float | int) and isinstance(given, float | int):
        return math.isclose(own, given, rel_tol=CLOSE, abs_tol=CLOSE)
    return own == given


def _scores(record: RunRecord, items: pl.DataFrame) -> dict[str, Value]:
    """All scores of a row that its questions determine."""
    task = headline_task(record)
    values: dict[str, Value] = {}
    for split in ("test", "valid"):
        of_task = items.filter((pl.col("task") == task) & (pl.col("split") == split))
        scored = of_task.filter(pl.col("filter") != LOSS_FILTER)
        names = [f"{split}_{name}" for name in ("n", "accuracy", "stderr", "strict", "strict_stderr")]
        loss = token_losses(of_task)
        values |= dict(
            zip(
                (f"{split}_loss", f"{split}_loss_stderr"),
                weighted_token_loss(*loss) if loss else (None, None),
                strict=True,
            )
        )
        if scored.is_empty():
            values |= dict.fromkeys(names)
        else:
            name, metric = headline_of(scored.select("filter", "metric").unique(maintain_order=True).iter_rows())
            strict = scored.filter(pl.col("filter") == "strict-match")
            first = strict["metric"][0] if len(strict) else None
            headline = _mean(scored, name, metric)
            announced = (None, None) if first is None else _mean(strict, "strict-match", first)
            values |= dict(zip(names, (scored["doc_id"].n_unique(), *headline, *announced), strict=True))
    del values["valid_strict_stderr"]  # no field of a row
    return values


def _mean(items: pl.DataFrame, name: str, metric: str) -> Score:
    """Mean and standard error over the questions, as lm-eval has them: the sample's deviation by the root of n."""
    scores = items.filter((pl.col("filter") == name) & (pl.col("metric") == metric))["score"].to_list()
    n = len(scores)
    mean = math.fsum(scores) / n
    if n < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (n - 1) / n)


def _metrics_problems(record: RunRecord, items: pl.DataFrame) -> Iterator[str]:
    """The nested `metrics`: those that are means over questions, and that no other is there."""
    keys = set(items.filter(pl.col("filter") != LOSS_FILTER).select("split", "task", "filter", "metric").iter_rows())
    recorded = {
        (split, task, name, metric): score
        for split, tasks in (record.metrics or {}).items()
        for task, filters in tasks.items()
        for name, metrics in filters.items()
        for metric, score in metrics.items()
    }
    for key in sorted({key for key in keys | set(recorded) if key[3] in HEADLINE_METRICS}):
        split, task, name, metric = key
        own = recorded.get(key)
        given: Score | None = None
        if key in keys:
            given = _mean(items.filter((pl.col("split") == split) & (pl.col("task") == task)), name, metric)
        if own is None or given is None or not all(map(same, own, given)):
            yield f"metrics {'/'.join(key)} is {_score(own)}, its questions give {_score(given)}"


def _status_problems(record: RunRecord) -> Iterator[str]:
    if record.status == "ok":
        for name in ("error", "failed_by"):
            if getattr(record, name) is not None:
                yield f"{name} is {getattr(record, name)!r}, though it has a result"
    elif not record.error:
        yield "error is none, though it failed"
    elif record.test_accuracy is not None or record.metrics is not None or record.items_sha256 is not None:
        yield "test_accuracy, metrics or items_sha256 are there, though it failed"


def _unread_adapter(run: RunConfig) -> str | None:
    """Why nothing can be computed of a config: its adapter's settings are none of its variant. None where they are."""
    if run.variant == BASE or run.variant not in REGISTRY:
        return None
    try:
        _ = run.trains, run.rank
    except (ValueError, KeyError) as error:
        missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        return f"config.adapter is of no {run.variant}: {missing}"
    return None


def _column_problems(record: RunRecord) -> Iterator[str]:
    """Columns that repeat the config."""
    run = record.config
    known = run.variant == BASE or run.variant in REGISTRY
    expected: dict[str, Value] = {"variant": run.variant, "model": run.model}
    trains, ranked = known and run.trains, known and run.rank is not None
    if known:
        expected |= {
            "rank": run.adapter["r"] if ranked else None,
            "lr": run.lr if trains else None,
            "seed": None if run.variant == BASE else run.seed,
            "steps": run.steps if trains else None,
        }
    for name, value in expected.items():
        if not same(getattr(record, name), value):
            yield f"{name} is {_text(getattr(record, name))}, its config says {_text(value)}"
    if record.status == "ok":
        size = record.trained_parameters
        if record.untuned and (size, record.added_macs_per_token) != (0, 0):
            yield "trained_parameters or added_macs_per_token of the untuned model are not 0"
        elif not record.untuned and known and (size is None or (size > 0) != trains):
            yield f"trained_parameters is {size}, which is none of {run.variant}"


def _id_problems(record: RunRecord) -> Iterator[str]:
    """The fields that can be read in a run id."""
    parts = _ID.fullmatch(record.run_id)
    if parts is None:
        yield "run_id is of no run"
        return
    run = record.config
    if run.variant != BASE and run.variant not in REGISTRY:
        return
    basis = None if run.variant == BASE else run.adapter.get("rotate_basis")
    expected = {
        "variant": record.variant,
        "basis": basis,
        "rank": None if run.rank is None else str(run.rank),
        "lr": None if record.lr is None else f"{record.lr:g}",
        "steps": None if record.steps is None else str(record.steps),
        "seed": None if record.seed is None else str(record.seed),
    }
    for name, value in expected.items():
        if parts[name] != value:
            yield f"run_id says {name} {parts[name]}, its row {value}"


def _digest_problems(record: RunRecord) -> Iterator[str]:
    """The digests of the config, where its model, data and tasks are here as they were when the run was made."""
    own, last = record.config, record.run_id.rpartition("__")[2]
    given = {"protocol": record.protocol, "scoring": record.scoring, "arm": record.arm, "run_id": last}
    here = _digests_here(own)
    if here is None or any(here[name] == value for name, value in given.items()) is False:
        return  # of other files than lie here: nothing can be said
    for name, value in given.items():
        if here[name] != value:
            yield f"{name} is {value}, its config gives {here[name]}"


def _digests_here(run: RunConfig) -> dict[str, str] | None:
    try:
        return {
            "protocol": run.protocol,
            "scoring": run.scoring,
            "arm": run.arm,
            "run_id": run.run_id.rpartition("__")[2],
        }
    except (OSError, ValueError, KeyError, UserError):
        return None


def _score(score: Score | None) -> str:
    return "none" if score is None else " ± ".join(map(_text, score))


def _text(value: Value) -> str:
    return "none" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
