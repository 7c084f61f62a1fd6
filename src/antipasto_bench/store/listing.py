"""Which recorded runs `list` shows, and in which order: filters written as settings, and a column to sort by."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from antipasto.config import ALIASES

from ..core.errors import UserError
from ..spec.config import ADAPTER_WORDS
from ..spec.grammar import parse_words
from ..spec.keys import known_keys, run_keys
from .record import NESTED, SCHEMA, RunRecord
from .settings import same_value, settings_of


def column_names() -> list[str]:
    """Every name that a run can be chosen or sorted by: what is recorded of it, and its settings."""
    return list(dict.fromkeys([*_recorded_columns(), *known_keys()]))


def _recorded_columns() -> list[str]:
    return [name for name in SCHEMA if name not in NESTED]


def value_of(record: RunRecord, column: str) -> Any:
    """What a run has in a column; None where it has nothing there. `full` is the rank of every direction."""
    if column == "rank" and record.rank is None and "r" in record.config.adapter:
        return "full"
    if column in SCHEMA and column not in NESTED:
        return getattr(record, "schema_version" if column == "schema" else column)
    return settings_of(record).get(ADAPTER_WORDS.get(column, column))


def _check(column: str, records: Iterable[RunRecord]) -> None:
    """Raise UserError where there is no such column; the message names the nearest one."""
    if column in _recorded_columns() or column in run_keys():
        return
    field = ADAPTER_WORDS.get(column, column)
    if any(field in record.config.adapter for record in records):  # the variants are asked last
        return
    if column not in (names := column_names()):
        near = difflib.get_close_matches(column, names, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"unknown column {column!r}{hint} (`antipasto-bench show RUN_ID` prints what a run has)")


def select_records(records: Iterable[RunRecord], words: Sequence[str]) -> list[RunRecord]:
    """The runs that some words describe: `lora,dora lr=1e-3 status=failed seed=0,1`, any of the values of each.

    Raises:
        UserError: a word cannot be read, or names no column.
    """
    records = list(records)
    variants, filters = parse_words(words)
    if variants:
        if "variant" in filters:
            raise UserError(f"variant is given twice; write {','.join(variants)} or variant=..., not both")
        filters = {"variant": variants, **filters}
    if "variant" in filters:
        filters["variant"] = [ALIASES.get(str(name), name) for name in filters["variant"]]
    for column in filters:
        _check(column, records)
    return [record for record in records if _has(record, filters)]


def _has(record: RunRecord, filters: Mapping[str, Sequence[Any]]) -> bool:
    return all(_is_one_of(record, column, values) for column, values in filters.items())


def _is_one_of(record: RunRecord, column: str, values: Sequence[Any]) -> bool:
    own = value_of(record, column)
    ordered = ADAPTER_WORDS.get(column, column) not in record.config.adapter
    return any(same_value(own, value, ordered=ordered) for value in values)


def sort_records(records: Sequence[RunRecord], column: str) -> list[RunRecord]:
    """Runs by a column, lowest first, or highest first where a minus stands before its name.

    Runs without a value there come last; those of equal value stay as they were.

    Raises:
        UserError: there is no such column.
    """
    name = column.removeprefix("-")
    _check(name, records)
    values = [(value_of(record, name), record) for record in records]
    present = [(_order(value), record) for value, record in values if value is not None]
    present.sort(key=lambda entry: entry[0], reverse=column.startswith("-"))
    return [record for _, record in present] + [record for value, record in values if value is None]


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by their value, and text after them."""
    return (False, float(value), "") if isinstance(value, int | float) else (True, 0.0, str(value))
