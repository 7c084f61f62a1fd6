"""From a run's folder in outputs/ to results/: its items, the kinds of its questions, its excerpts and its record.

Every record is written here: into the run's folder first, whole or not at all, then into the table.
"""

from __future__ import annotations

from contextlib import suppress

from ..core.errors import UserError
from ..core.files import read_regular, write_bytes, write_json
from .excerpts import json_lines, write_excerpts
from .file_digests import FILES, ITEMS, SAMPLES, read_checked
from .folders import Store
from .items import parse_items
from .kinds import store_kinds
from .record import NewerSchema, RunRecord, read_record, record_json
from .run_folder import RunFolder
from .table import put


def record_in(folder: RunFolder) -> RunRecord:
    """The record that a run's folder in outputs/ holds.

    Raises:
        OSError, ValueError: it holds none that can be read.
        UserError: it was written by a newer version of this program.
    """
    try:
        return read_record(read_regular(folder.record), default_version=1)
    except NewerSchema as error:
        raise UserError(f"{folder.record}: {error}") from error


def write_record(folder: RunFolder, record: RunRecord) -> None:
    """Write a record into a run's folder."""
    write_json(folder.record, record_json(record))


def is_unstored(folder: RunFolder) -> bool:
    """Whether a run was finished there and its row may not be in the table: a process died between the two.

    A damaged one was not: it is made again.
    """
    try:
        record = record_in(folder)
        check_finished(folder, record)
    except (OSError, ValueError):
        return False
    return record.status == "ok"


def check_finished(folder: RunFolder, record: RunRecord) -> None:
    """Check that a finished run's folder holds the items, the samples and the log that its record was made from.

    Raises:
        ValueError: it does not; the message names the file.
    """
    digests = record.file_sha256
    try:
        name = ITEMS
        digest = digests.get(ITEMS)
        parse_items(read_checked(folder.items, digest), record.items_sha256, trusted=digest is not None)
        for name in set(FILES) - {ITEMS}:
            if name in digests:
                read_checked(folder.path / name, digests[name])
        name = SAMPLES
        json_lines(folder.samples, digests.get(SAMPLES))
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error


def store_result(run_id: str, store: Store, row: RunRecord | None = None) -> RunRecord:
    """Bring a finished run from its folder in outputs/ into results/: items, kinds, excerpts and row, in this order.

    Args:
        row: what the table is to say of it; the folder's record where None.

    Raises:
        OSError, ValueError: the folder is damaged; nothing is written then.
    """
    folder = store.run_folder(run_id)
    record = record_in(folder)
    check_finished(folder, record)
    write_bytes(store.items(run_id), read_regular(folder.items))
    store_kinds(folder, store)
    row = row or record
    write_excerpts(folder, store, row)
    with suppress(OSError):  # its disk may be full; the table's may not
        write_record(folder, row)  # with the digest of the excerpts, as the row has it
    put(store.table, row)
    return row


def record_failed(record: RunRecord, folder: RunFolder, store: Store) -> RunRecord:
    """Record a failed run in a folder and in the table. Its folder may be on a full disk: the table may not.

    Raises:
        OSError: the table cannot be written; it is as it was.
    """
    with suppress(OSError):
        write_record(folder, record)
    put(store.table, record)
    return record


def replace(record: RunRecord, store: Store) -> None:
    """Put a record in place of what the table and the run's folder, where it is on this machine, have of the run."""
    folder = store.run_folder(record.run_id)
    if folder.path.exists():
        write_record(folder, record)
    put(store.table, record)
