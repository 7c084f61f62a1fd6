"""The rows that are backed by their questions. Damaged evidence is left out, with a warning that names its file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..core.errors import Damaged
from .file_digests import ITEMS
from .folders import Store
from .items import read_items
from .record import RunRecord
from .table import read_records

NAMED = 3  # files of which a row is lost; a table that is gone has hundreds


def read_results(store: Store) -> list[RunRecord]:
    """Every readable record of the table; questions whose row is lost are a warning."""
    records = read_records(store.table)
    lost = rowless(store, {record.run_id for record in records})
    for run_id in lost[:NAMED]:
        warn(f"{store.name_of_items(run_id)}: its row is missing; `antipasto-bench results rebuild` may know it")
    if len(lost) > NAMED:
        warn(f"items/: of {len(lost) - NAMED} more files the row is missing")
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
    records = list(records)
    for record, problem in zip(records, read_all(records, store), strict=True):
        if problem is None:
            whole.append(record)
        else:
            warn(f"{store.name_of_items(record.run_id)}: {problem}; its row is left out")
    return whole


def read_all(records: Sequence[RunRecord], store: Store, *, twice: bool = False) -> list[str | None]:
    """What is wrong with the questions of each record; None where nothing is. `read_items` has them at hand then.

    Files are read two at a time: a report reads hundreds, and polars decodes them outside of Python's lock. Of those
    that may be damaged, polars' own messages are silenced, for which a process has one place: they are left for later.
    """
    problems: list[str | None] = [None] * len(records)

    def read(place: int) -> None:
        try:
            read_items(records[place], store, twice=twice)
        except ValueError as error:
            problems[place] = str(error)

    digested = [place for place, record in enumerate(records) if ITEMS in record.file_sha256]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read, digested))
    for place in sorted(set(range(len(records))) - set(digested)):
        read(place)
    return problems


def warn(text: str) -> None:
    warnings.warn(text, Damaged, stacklevel=3)
