"""The run that a user means: by its whole id, by the beginning of one id alone, or by the eight digits that end it.

A typed name is compared with the ids of the table's rows and with nothing else: it is never a path.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..core.errors import UserError
from .record import RunRecord
from .table import read_records

DIGITS = 8  # of the digest that ends a run id
CANDIDATES = 5  # that an error lists
COMPARED = 200  # characters of a name that has no run: similarity takes time that grows with the square of a length


def run_ids_named(names: Iterable[str], table: Path) -> list[str]:
    """The whole ids of some runs.

    Raises:
        UserError: as `run_named`.
    """
    records = read_records(table)
    return [run_named(name, records, table).run_id for name in names]


def run_named(name: str, records: Sequence[RunRecord], table: Path) -> RunRecord:
    """The record of the run that a name means.

    Args:
        name: a run id, the beginning of exactly one, or its last eight digits.
        records: those of the table, which errors name.

    Raises:
        UserError: no run has that name, or several have.
    """
    whole = [record for record in records if record.run_id == name]
    matching = whole or [record for record in records if name and _is_named(record.run_id, name)]
    if len(matching) == 1:
        return matching[0]
    ids = [record.run_id for record in matching]
    if ids:
        more = f" and {len(ids) - CANDIDATES} more" if len(ids) > CANDIDATES else ""
        listed = ", ".join(ids[:CANDIDATES])
        raise UserError(f"{name!r} names {len(ids)} runs: {listed}{more}; write more of one id, or its last 8 digits")
    close = difflib.get_close_matches(name[:COMPARED], [record.run_id for record in records], CANDIDATES)
    nearest = f"the nearest: {', '.join(close)}; " if close else ""
    raise UserError(f"no run {name[:COMPARED]!r} in {table}; {nearest}`antipasto-bench list` shows them all")


def _is_named(run_id: str, name: str) -> bool:
    return run_id.startswith(name) or (len(name) == DIGITS and run_id.endswith(f"__{name}"))
