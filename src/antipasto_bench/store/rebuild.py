"""Results made whole again from what outputs/ hold: only from files that are whole themselves."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import polars as pl

from ..core.errors import Damaged, UserError
from ..core.files import read_regular
from .folders import Store
from .integrity import excerpts_problems, items_problems
from .items import grouped, items_digest, parse_items
from .kinds import kinds_problems
from .recomputed import disagreements, incoherent
from .record import RunRecord
from .recording import check_finished, record_in, store_result
from .run_folder import RunFolder
from .table import put, read_records


@dataclass
class Rebuilt:
    """What became of the runs of outputs/ that results/ lacked, or had damaged."""

    brought_back: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # a line each: the run or its folder, and why


def rebuild(store: Store) -> Rebuilt:
    """Bring every finished run of outputs/ back that results/ lack, or have damaged; what is whole stays as it is.

    What is written was checked before: its questions are those that its record was made from, and give its numbers.

    Raises:
        UserError: outputs/ hold no record of any run.
    """
    # A hidden folder is no run's: what a killed process left half written.
    paths = [path for path in sorted(store.outputs.glob("*/")) if not path.name.startswith(".")]
    folders = [RunFolder(path) for path in paths if _is_of_a_run(RunFolder(path))]
    if not folders:
        raise UserError(
            f"{store.outputs} holds no record of a run; give the folder that the runs were made in: --outputs"
        )
    rows = {record.run_id: record for record in _readable(store)[0]}
    rebuilt = Rebuilt()
    for folder in folders:
        _bring_back(folder, rows, store, rebuilt)
    present = {folder.path.name for folder in folders}
    for record in rows.values():
        if record.status == "ok" and record.run_id not in present:
            rebuilt.lost += [f"{record.run_id}: {problem}; not in outputs/" for problem in _lacking(record, store)]
    rebuilt.lost += [f"{line}; delete the line where its run has another" for line in _readable(store)[1]]
    return rebuilt


def _is_of_a_run(folder: RunFolder) -> bool:
    """Whether a folder holds a record, or all else that a finished run has."""
    return folder.record.exists() or all(path.exists() for path in (folder.config, folder.items, folder.samples))


def _readable(store: Store) -> tuple[list[RunRecord], list[str]]:
    """The rows that can be read, and a text for each line that cannot."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        records = read_records(store.table)
    return records, [str(warning.message) for warning in said if issubclass(warning.category, Damaged)]


def _bring_back(folder: RunFolder, rows: dict[str, RunRecord], store: Store, rebuilt: Rebuilt) -> None:
    """Bring the run of a folder back where results/ lack something of it that the folder has whole."""
    name = folder.path.name
    earlier = rows.get(name)
    lacking = [] if earlier is None else _lacking(earlier, store)
    if earlier is not None and earlier.status == "ok" and not lacking:
        return
    try:
        record = record_in(folder)
    except FileNotFoundError:
        rebuilt.lost.append(f"{name}: record.json is missing")
        return
    except (OSError, ValueError) as error:
        rebuilt.lost.append(f"{name}: record.json is damaged: {error}")
        return
    if record.run_id != name:  # a copy under another name
        return
    if record.status == "failed":
        problems = list(incoherent(record))
        if problems:
            rebuilt.lost.append(f"{name}: record.json: {problems[0]}")
        elif earlier is None:
            put(store.table, record)
            rebuilt.brought_back.append(name)
        elif earlier.status == "ok":
            rebuilt.lost.append(f"{name}: {lacking[0]}; outputs/ hold a failure of it alone")
        return
    try:
        check_finished(folder, record)
        items = parse_items(read_regular(folder.items), record.items_sha256, trusted=True)
        wrong = next(disagreements(record, grouped(items)), None)
        row = _whole(earlier, items)
        if wrong is None:
            store_result(name, store, row)
        else:
            wrong = f"record.json: {wrong}"
    except (OSError, ValueError) as error:
        wrong = str(error)
    if wrong is None:
        rebuilt.brought_back.append(name)
    else:
        rebuilt.lost.append(f"{name}: {wrong}")


def _lacking(record: RunRecord, store: Store) -> list[str]:
    """What is missing or damaged of a result."""
    if record.status != "ok":
        return []
    return [*items_problems(record, store), *excerpts_problems(record, store), *kinds_problems(record, store)]


def _whole(row: RunRecord | None, items: pl.DataFrame) -> RunRecord | None:
    """A row that is whole but for its files: it stays, since what was measured later may be in it alone.

    Raises:
        ValueError: the questions are those of another result.
    """
    if row is None or row.status != "ok":
        return None
    if row.items_sha256 != items_digest(items):
        raise ValueError("outputs/ hold another result of it than its row")
    return None if next(disagreements(row, grouped(items)), None) else row
