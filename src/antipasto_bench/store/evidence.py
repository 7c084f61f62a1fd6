"""The rows that are backed by their questions. Damaged evidence is left out, with a warning that names its file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from ..core.errors import Damaged
from .folders import Store
from .items import read_items
from .record import RunRecord
from .table import read_records


def read_results(store: Store) -> list[RunRecord]:
    """Every readable record of the table; questions whose row is lost are a warning."""
    records = read_records(store.table)
    for run_id in rowless(store, {record.run_id for record in records}):
        warn(f"{store.name_of_items(run_id)}: its row is missing; `antipasto-bench results rebuild` may know it")
    return records


def rowless(store: Store, run_ids: Iterable[str]) -> list[str]:
    """The runs that results/ have questions of, and that are not among those of `run_ids`.

    A run is left out that is being recorded now: its row comes last.
    """
    strays = {path.stem for path in (store.results / "items").glob("*.parquet")} - set(run_ids)
    return sorted(stem for stem in strays if not (store.locks / f"{stem}.json").exists())


def backed(records: Iterable[RunRecord], store: Store) -> list[RunRecord]:
    """The records whose questions are there, and are those that they were made from; the others are a warning each."""
    whole = []
    for record in records:
        try:
            read_items(record, store)
        except ValueError as error:
            warn(f"{store.name_of_items(record.run_id)}: {error}; its row is left out")
        else:
            whole.append(record)
    return whole


def warn(text: str) -> None:
    warnings.warn(text, Damaged, stacklevel=3)
