"""Whether results/ are whole, and how they are made whole again from what outputs/ hold."""

from __future__ import annotations

import warnings
from collections import Counter

import polars as pl

from ..core.errors import UserError
from ..core.files import write_bytes
from .folders import Store
from .items import headline_scores, headline_task, items_digest, token_losses, weighted_token_loss
from .record import SCHEMA_VERSION, NewerSchema, RunRecord, read_record
from .recording import record_in, store_result
from .run_folder import RunFolder
from .table import put, read_records


def verify(store: Store) -> list[str]:
    """Everything that is wrong with the results, a line each; nothing is changed.

    Every line of the table is a whole row of a known schema; no run has two results; every result has its questions,
    and they are those it was made from and give its accuracy and its losses; no questions lie about without a row.
    """
    problems: list[str] = []
    results: Counter[str] = Counter()
    newer = set[str]()
    lines = store.table.read_bytes().split(b"\n") if store.table.exists() else []
    if not any(line.strip() for line in lines):
        return [f"{store.table} holds no run"]
    if lines[-1]:
        problems.append("the last line was cut short; the next run that is recorded puts it aside")
    for number, line in enumerate(lines[:-1], start=1):
        if not line.strip():
            continue
        try:
            record = read_record(line)
        except NewerSchema as error:
            problems.append(f"line {number}: {error.run_id}: schema {error.version}, expected {SCHEMA_VERSION}")
            newer.add(error.run_id)
            continue
        except ValueError:
            problems.append(f"line {number}: not a whole row")
            continue
        results[record.run_id] += record.status == "ok"
    problems += [f"{run_id}: {count} results; one is expected" for run_id, count in results.items() if count > 1]
    if not newer:
        with warnings.catch_warnings(action="ignore"):  # of lines that are named above
            records = [record for record in read_records(store.table) if record.status == "ok"]
        problems += [problem for record in records for problem in _items_problems(record, store)]
    known = newer | {run_id for run_id, count in results.items() if count}
    strays = sorted(path.stem for path in store.items("x").parent.glob("*.parquet") if path.stem not in known)
    return problems + [
        f"{run_id}: questions without a row; `antipasto-bench results rebuild` may know it" for run_id in strays
    ]


def _items_problems(record: RunRecord, store: Store) -> list[str]:
    run_id, path = record.run_id, store.items(record.run_id)
    if not path.exists():
        return [f"{run_id}: {path} is missing"]
    try:
        items = pl.read_parquet(path)
        digest = items_digest(items)
    except (OSError, pl.exceptions.PolarsError) as error:
        return [f"{run_id}: {path} cannot be read: {' '.join(str(error).split())[:120]}"]
    if digest != record.items_sha256:
        return [f"{run_id}: {path} is not what its row was made from"]
    of_task = items.filter(pl.col("task") == headline_task(record))
    test = of_task.filter(split="test")
    accuracy = float(headline_scores(test).scores.mean())
    if not _same(accuracy, record.test_accuracy):
        return [f"{run_id}: its questions give {_number(accuracy)}, its row says {_number(record.test_accuracy)}"]
    for split, recorded in (
        ("test", (record.test_loss, record.test_loss_stderr)),
        ("valid", (record.valid_loss, record.valid_loss_stderr)),
    ):
        losses = token_losses(of_task.filter(split=split))
        given = (None, None) if losses is None else weighted_token_loss(*losses)
        if not all(map(_same, given, recorded)):
            texts = [" ± ".join(map(_number, score)) for score in (given, recorded)]
            return [f"{run_id}: its questions give a {split} loss of {texts[0]}, its row says {texts[1]}"]
    return []


def _same(given: float | None, recorded: float | None) -> bool:
    return given == recorded if given is None or recorded is None else abs(given - recorded) <= 1e-9


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def rebuild(store: Store) -> list[str]:
    """Bring every finished run of outputs/ that results/ lack back into them; what they have stays as it is.

    Returns:
        the runs that were brought back.

    Raises:
        UserError: outputs/ hold no record of any run.
    """
    # A hidden folder is no run's: what a killed process left half written.
    paths = [path for path in sorted(store.outputs.glob("*/")) if not path.name.startswith(".")]
    folders = [RunFolder(path) for path in paths if RunFolder(path).record.exists()]
    if not folders:
        raise UserError(
            f"{store.outputs} holds no record of a run; give the folder that the runs were made in: --outputs"
        )
    rows = {record.run_id: record for record in read_records(store.table)}
    return [run_id for folder in folders if (run_id := _bring_back(folder, rows, store)) is not None]


def _bring_back(folder: RunFolder, rows: dict[str, RunRecord], store: Store) -> str | None:
    """The run of a folder, where results/ lacked something of it that the folder has."""
    try:
        record = record_in(folder)
    except (OSError, ValueError):
        return None
    if record.run_id != folder.path.name:  # a copy under another name
        return None
    earlier = rows.get(record.run_id)
    if record.status == "failed" and earlier is None:
        put(store.table, record)
        return record.run_id
    if record.status != "ok" or not folder.items.exists():
        return None
    if earlier is None or earlier.status != "ok":
        store_result(record.run_id, store)
        return record.run_id
    if _items_problems(earlier, store) and items_digest(pl.read_parquet(folder.items)) == earlier.items_sha256:
        write_bytes(store.items(record.run_id), folder.items.read_bytes())
        return record.run_id
    return None
