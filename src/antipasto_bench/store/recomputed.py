"""What a row says of its run, computed again from its questions and from its own config."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from ..core.errors import UserError
from ..spec.config import BASE, RunConfig
from ..spec.methods.registry import is_known
from .items import (
    HEADLINE_METRICS,
    LOSS_FILTER,
    Group,
    Groups,
    headline_of,
    headline_task,
    of_split,
    token_losses,
    weighted_token_loss,
)
from .record import RunRecord, Score

CLOSE = 1e-9  # by which two sums of the same scores may differ
_ID = re.compile(
    r"(?P<model>.+?)__(?P<variant>[a-z0-9_-]+?)(__rot(?P<basis>[A-Za-z]+))?(__r(?P<rank>\d+|full))?"
    r"(__lr(?P<lr>[0-9.e+-]+)__s(?P<steps>\d+))?(__seed(?P<seed>\d+))?__[0-9a-f]{8}"
)
Value = float | int | str | None


def disagreements(record: RunRecord, groups: Groups, *, as_written: bool = False) -> Iterator[str]:
    """What a row says otherwise than its questions and its config do, a text each that begins with the field.

    Args:
        record: of a run with a result.
        groups: all of its questions, as `read_items` gives them.
        as_written: see `incoherent`.
    """
    yield from incoherent(record, as_written=as_written)
    for name, given in _scores(record, groups).items():
        own: Value = getattr(record, name)
        if not same(own, given):
            yield f"{name} is {_text(own)}, its questions give {_text(given)}"
    yield from _metrics_problems(record, groups)


def incoherent(record: RunRecord, *, as_written: bool = False) -> Iterator[str]:
    """What the fields of a row contradict in each other, whether or not the run has a result.

    Args:
        as_written: the row holds a digest of itself. So the program that wrote it had read the config by the class of
            its variant, and where all agrees with how the row reads the config, no class is asked: torch takes seconds
            to import. Where something does not agree, the classes say what.
    """
    yield from _status_problems(record)
    if as_written and any(not list(_contradictions(record, reading)) for reading in _own_readings(record)):
        return
    unread = _unread_adapter(record.config)
    if unread is None:
        yield from _contradictions(record, _reading(record.config))
    else:
        yield unread


class Reading(NamedTuple):
    """How a variant reads the config of a run."""

    trains: bool
    rank: int | str | None  # as `RunConfig.rank`
    calibrates: bool


def _reading(run: RunConfig) -> Reading | None:
    """By the class of the variant; None where there is no such variant."""
    return Reading(run.trains, run.rank, run.calibrates) if is_known(run.variant) else None


def _own_readings(record: RunRecord) -> Iterator[Reading]:
    """Those under which a row can agree with its config, by the row alone."""
    parts = _ID.fullmatch(record.run_id)
    rank = "full" if parts is not None and parts["rank"] == "full" else record.rank
    for calibrates in (False, True):
        yield Reading(record.lr is not None, rank, calibrates)


def _contradictions(record: RunRecord, reading: Reading | None) -> Iterator[str]:
    yield from _column_problems(record, reading)
    yield from _id_problems(record, reading)
    if reading is not None:
        yield from _digest_problems(record, reading.calibrates)


def same(own: Value, given: Value) -> bool:
    """Whether two values are one, sums of floats up to their rounding."""
    if isinstance(own, float | int) and isinstance(given, float | int):
        return math.isclose(own, given, rel_tol=CLOSE, abs_tol=CLOSE)
    return own == given


def _scores(record: RunRecord, groups: Groups) -> dict[str, Value]:
    """All scores of a row that its questions determine."""
    task = headline_task(record)
    values: dict[str, Value] = {}
    for split in ("test", "valid"):
        of_task = of_split(groups, split, task)
        loss = token_losses(of_task)
        loss_score = weighted_token_loss(*loss) if loss else (None, None)
        values |= dict(zip((f"{split}_loss", f"{split}_loss_stderr"), loss_score, strict=True))
        scored = {group[2:]: part for group, part in of_task.items() if group.filter != LOSS_FILTER}
        names = [f"{split}_{name}" for name in ("n", "accuracy", "stderr", "strict", "strict_stderr")]
        if not scored:
            values |= dict.fromkeys(names)
            continue
        questions = set().union(*(part["doc_id"].to_list() for part in scored.values()))
        headline = _mean(scored.get(headline_of(scored)))
        announced = _mean(next((part for (name, _), part in scored.items() if name == "strict-match"), None))
        values |= dict(zip(names, (len(questions), *headline, *announced), strict=True))
    del values["valid_strict_stderr"]  # no field of a row
    return values


def _mean(part: pl.DataFrame | None) -> Score:
    """Mean and standard error over the questions, as lm-eval has them: the sample's deviation by the root of n."""
    if part is None:
        return None, None
    scores = part["score"].to_list()
    n = len(scores)
    mean = math.fsum(scores) / n
    if n < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / (n - 1) / n)


def _metrics_problems(record: RunRecord, groups: Groups) -> Iterator[str]:
    """The nested `metrics`: those that are means over questions, and that no other is there."""
    scored = {group: part for group, part in groups.items() if group.filter != LOSS_FILTER}
    recorded = {
        Group(split, task, name, metric): score
        for split, tasks in (record.metrics or {}).items()
        for task, filters in tasks.items()
        for name, metrics in filters.items()
        for metric, score in metrics.items()
    }
    for group in sorted({group for group in set(scored) | set(recorded) if group.metric in HEADLINE_METRICS}):
        own = recorded.get(group)
        given = _mean(scored[group]) if group in scored else None
        if own is None or given is None or not all(map(same, own, given)):
            yield f"metrics {'/'.join(group)} is {_score(own)}, its questions give {_score(given)}"


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
    if not is_known(run.variant):
        return None
    try:
        _ = run.trains, run.rank
    except (ValueError, KeyError) as error:
        missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        return f"config.adapter is of no {run.variant}: {missing}"
    return None


def _column_problems(record: RunRecord, reading: Reading | None) -> Iterator[str]:
    """Columns that repeat the config."""
    run = record.config
    expected: dict[str, Value] = {"variant": run.variant, "model": run.model}
    if reading is not None:
        expected |= {
            "rank": reading.rank if isinstance(reading.rank, int) else None,
            "lr": run.lr if reading.trains else None,
            "seed": None if run.variant == BASE else run.seed,
            "steps": run.steps if reading.trains else None,
        }
    for name, value in expected.items():
        if not same(getattr(record, name), value):
            yield f"{name} is {_text(getattr(record, name))}, its config says {_text(value)}"
    if record.status == "ok":
        size = record.trained_parameters
        if record.untuned and (size, record.added_macs_per_token) != (0, 0):
            yield "trained_parameters or added_macs_per_token of the untuned model are not 0"
        elif not record.untuned and reading is not None and (size is None or (size > 0) != reading.trains):
            yield f"trained_parameters is {size}, which is none of {run.variant}"


def _id_problems(record: RunRecord, reading: Reading | None) -> Iterator[str]:
    """The fields that can be read in a run id."""
    parts = _ID.fullmatch(record.run_id)
    if parts is None:
        yield "run_id is of no run"
        return
    if reading is None:
        return
    run = record.config
    basis = None if run.variant == BASE else run.adapter.get("rotate_basis")
    expected = {
        "variant": record.variant.replace(":", "-"),
        "basis": basis,
        "rank": None if reading.rank is None else str(reading.rank),
        "lr": None if record.lr is None else f"{record.lr:g}",
        "steps": None if record.steps is None else str(record.steps),
        "seed": None if record.seed is None else str(record.seed),
    }
    for name, value in expected.items():
        if parts[name] != value:
            yield f"run_id says {name} {parts[name]}, its row {value}"


def _digest_problems(record: RunRecord, calibrates: bool) -> Iterator[str]:
    """The digests of the config, where its model, data and tasks are here as they were when the run was made."""
    try:
        here = record.config.digests(calibrates)
    except (OSError, ValueError, KeyError, UserError):
        return
    last = record.run_id.rpartition("__")[2]
    own = {"protocol": record.protocol, "scoring": record.scoring, "arm": record.arm, "run_id": last}
    if not any(here[name] == value for name, value in own.items()):
        return  # of other files than lie here: nothing can be said
    for name, value in own.items():
        if here[name] != value:
            yield f"{name} is {value}, its config gives {here[name]}"


def _score(score: Score | None) -> str:
    return "none" if score is None else " ± ".join(map(_text, score))


def _text(value: Value) -> str:
    return "none" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
