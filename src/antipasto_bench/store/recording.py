"""From a run's folder in outputs/ to results/: its record, its items, its excerpts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from ..core.files import write_bytes, write_json
from .excerpts import keep
from .folders import Store
from .table import ITEMS, RECORD, SCHEMA_VERSION, migrated, put


def recorded(folder: Path) -> dict[str, Any]:
    """The row that a run's folder in outputs/ keeps.

    Raises:
        OSError, ValueError: it keeps none that can be read.
        UserError: it was written by a newer version of this program.
    """
    kept = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    try:
        row = migrated({"schema": 1} | kept)
        newer = row["schema"] > SCHEMA_VERSION
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / RECORD}: not a row") from error
    if newer:
        raise UserError(f"{folder / RECORD}: schema {row['schema']}, this program reads {SCHEMA_VERSION}; update it")
    return row


def write_record(folder: Path, row: dict[str, Any]) -> None:
    write_json(folder / RECORD, {"schema": SCHEMA_VERSION} | row)


def unrecorded(folder: Path) -> bool:
    """Whether a run was finished there and its row is not in the table: a process died between the two."""
    try:
        kept = recorded(folder)
    except (OSError, ValueError):
        return False
    return kept.get("status") == "ok" and (folder / ITEMS).exists()


def record(run_id: str, store: Store) -> dict[str, Any]:
    """Bring a finished run from its folder in outputs/ into results/: items, dossier and row, in this order."""
    folder = store.run_dir(run_id)
    row = recorded(folder)
    write_bytes(store.items(run_id), (folder / ITEMS).read_bytes())
    keep(folder, store, run_id)
    put(store.table, row)
    return row
