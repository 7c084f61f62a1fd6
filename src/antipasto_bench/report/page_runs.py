"""The data of the page on single runs: numbers, settings, where it comes from, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.json_types import Json
from ..core.places import shown_name
from ..store.excerpts import Excerpts
from ..store.record import RunRecord
from .page_columns import RunColumn
from .page_pool import Pool
from .run_errors import OVER_KINDS, OVER_QUESTIONS, STANDARD_ERRORS

Settings = dict[str, object]  # by their whole key, as `eval.batch_size`


def runs_json(
    records: Sequence[RunRecord],
    excerpts: Mapping[str, Excerpts],
    columns: Sequence[RunColumn],
    pool: Pool,
    errors: Mapping[str, Mapping[str, float]],
) -> list[Json]:
    """Every run; settings and provenance as far as they differ from those of the first.

    Args:
        records: in the order of the page.
        excerpts: by run id.
        errors: standard errors over kinds of question, by run id and field of the record.
    """
    configs = [flat(record.config_as_shown()) for record in records]
    origins = [{} if r.provenance is None else flat(r.provenance.model_dump(mode="json")) for r in records]
    return [
        {
            "id": record.run_id,
            "model": shown_name(record.model),
            "variant": record.variant,
            "rank": record.rank,
            "lr": record.lr,
            "seed": record.seed,
            "rules": record.config.eval.version,
            "cells": (cells := [_cell(each, record, errors[record.run_id]) for each in columns])
            and [text for text, _ in cells],
            "values": [value for _, value in cells],
            "config": changed(config, configs[0]),
            "origin": changed(origin, origins[0]),
            "train": pool.curve([(point.step, point.loss) for point in excerpts[record.run_id].curve]),
            "valid": pool.curve(record.valid_curve or []),
            "answers": [
                [answer.right, *map(pool.text, (answer.prompt, answer.target, answer.response))]
                for answer in excerpts[record.run_id].answers
            ],
        }
        for record, config, origin in zip(records, configs, origins, strict=True)
    ]


def _cell(column: RunColumn, record: RunRecord, errors: Mapping[str, float]) -> tuple[str, float | None]:
    """A run's cell; a standard error says what it is over."""
    entry = column.entry
    if entry.field in errors:
        error = errors[entry.field]
        return f"{entry.text(error)} {OVER_KINDS}", error * entry.scale
    text, value = column.cell(record)
    return f"{text} {OVER_QUESTIONS}" if text and entry.field in STANDARD_ERRORS else text, value


def flat(values: Mapping[str, object], before: str = "") -> Settings:
    """Nested settings by their whole key."""
    settings: Settings = {}
    for key, value in values.items():
        name = f"{before}{key}"
        settings |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return settings


def changed(settings: Settings, first: Settings) -> list[object]:
    """What a run's settings are beside the first run's: those that differ, and the keys of those that it lacks."""
    other = {key: value for key, value in settings.items() if key not in first or first[key] != value}
    return [other, [key for key in first if key not in settings]]
