"""Whether results/ are whole: every row is one, has its questions, and says what they give."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator

from ..core.errors import Damaged, UserError
from ..core.files import read_regular
from ..core.fingerprint import sha256_of
from .checked_json import DIGEST, parse_object
from .evidence import read_all, rowless
from .excerpts import read_excerpts
from .folders import Store
from .items import read_items
from .kinds import damaged_kinds, kinds_problems
from .recomputed import disagreements, incoherent
from .record import SCHEMA_VERSION, NewerSchema, RunRecord, read_record
from .recording import check_finished, record_in
from .repeats import repeat_problems
from .table import that_count
from .trials import trial_problems


def verify(store: Store) -> list[str]:
    """Everything that is wrong with the results, a line each; nothing is changed.

    Every line of the table is a whole row of a known schema, and what was written; no run has two results; every result
    has its questions, and all that its row says of them is what they give; ids, columns and digests are those of the
    config; no questions lie about without a row. The kinds of questions are what was written. Where outputs/ have the
    run, its files are what its row names. Trials of `tune` and runs made again, which are no results, are what was
    written, too.
    """
    problems: list[str] = []
    records: list[RunRecord] = []
    results: Counter[str] = Counter()
    newer, undigested = set[str](), set[str]()
    lines = read_regular(store.table).split(b"\n") if store.table.exists() else []
    if not any(line.strip() for line in lines):
        return trial_problems(store) or ([] if store.trials.exists() else [f"{store.table} holds no run"])
    if lines[-1]:
        problems.append("the last line was cut short; the next run that is recorded puts it aside")
    for number, line in enumerate(lines, start=1):
        is_whole = number < len(lines)
        if not line.strip():
            continue
        try:
            values = parse_object(line)
            record = read_record(values)
        except NewerSchema as error:
            problems.append(f"line {number}: {error.run_id}: schema {error.version}, expected {SCHEMA_VERSION}")
            newer.add(error.run_id)
            continue
        except ValueError as error:
            if is_whole:
                problems.append(f"line {number}: not a whole row: {error}")
            continue
        records.append(record)
        if DIGEST not in values:
            undigested.add(record.run_id)
        results[record.run_id] += is_whole and record.status == "ok"
    problems += [f"{run_id}: {count} results; one is expected" for run_id, count in results.items() if count > 1]
    if not newer:
        of_kinds: list[str] = []
        counting = that_count(records)
        read_all([record for record in counting if record.status == "ok"], store, twice=True)  # two at a time
        for record in counting:
            found = _problems(record, store, as_written=record.run_id not in undigested)
            problems += [f"{record.run_id}: {problem}" for problem in found]
            of_kinds += kinds_problems(record, store) if record.status == "ok" else []
        problems += dict.fromkeys([*of_kinds, *damaged_kinds(store)])  # many runs share a file
    known = newer | {run_id for run_id, count in results.items() if count}
    problems += [*trial_problems(store), *repeat_problems(store)]
    return problems + [
        f"{run_id}: questions without a row; `antipasto-bench results rebuild` may know it"
        for run_id in rowless(store, known)
    ]


def _problems(record: RunRecord, store: Store, *, as_written: bool) -> Iterator[str]:
    """What is wrong with one run."""
    if record.status != "ok":
        yield from incoherent(record, as_written=as_written)
        return
    yield from items_problems(record, store, as_written=as_written)
    yield from excerpts_problems(record, store)
    yield from _outputs_problems(record, store)


def items_problems(record: RunRecord, store: Store, *, as_written: bool = False) -> Iterator[str]:
    """What is wrong with the questions of a result, and with what its row says of them.

    Args:
        as_written: see `incoherent`.
    """
    try:
        groups = read_items(record, store, twice=True)
    except ValueError as error:
        yield f"{store.name_of_items(record.run_id)} {error}"
        yield from incoherent(record, as_written=as_written)
        return
    yield from disagreements(record, groups, as_written=as_written)


def excerpts_problems(record: RunRecord, store: Store) -> Iterator[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read_excerpts(record, store)
    yield from (str(warning.message) for warning in said if issubclass(warning.category, Damaged))


def _outputs_problems(record: RunRecord, store: Store) -> Iterator[str]:
    """What outputs/ have otherwise, where the run is on this machine."""
    folder = store.run_folder(record.run_id)
    if not folder.record.exists():
        return
    try:
        own = record_in(folder)
        check_finished(folder, own)
    except (OSError, ValueError, UserError) as error:
        yield f"{folder.path}: {error}"
        return
    if own.status == "ok" and _content(own) != _content(record):
        names = sorted(name for name in type(own).model_fields if getattr(own, name) != getattr(record, name))
        yield f"{folder.record} says otherwise: {', '.join(names)}"
    adapter = folder.adapter
    if record.adapter_sha256 is not None and adapter.exists() and sha256_of(adapter) != record.adapter_sha256:
        yield f"{folder.adapter} is not the adapter that it trained"


def _content(record: RunRecord) -> object:
    return record.model_dump(mode="json", exclude={"schema_version", "file_sha256"})
