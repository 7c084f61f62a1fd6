"""Digests for the rows of older versions, which have none."""

from __future__ import annotations

import json

from ..core.errors import UserError
from ..core.files import read_regular, write_bytes
from ..core.fingerprint import sha256_of
from .checked_json import DIGEST, parse_object, with_digest
from .file_digests import EXCERPTS, ITEMS
from .folders import Store
from .integrity import verify
from .table import writing


def without_digests(store: Store) -> list[str]:
    """The runs whose rows have no digest: of them only what questions and config determine can be checked."""
    lines = store.table.read_bytes().split(b"\n") if store.table.exists() else []  # trials alone have no table
    rows = (parse_object(line) for line in lines if line.strip())
    return [str(values.get("run_id")) for values in rows if DIGEST not in values]


def add_digests(store: Store) -> list[str]:
    """Give each row without a digest those of itself, its items and its excerpts, as they are; all else stays.

    Returns:
        the runs whose rows had none.

    Raises:
        UserError: there is no table; or something is wrong with the results already: digests would hide it.
    """
    if not store.table.exists():
        raise UserError(f"{store.table} holds no run")
    with writing(store.table):
        problems = verify(store)
        if problems:
            raise UserError(f"{problems[0]}; digests are for whole results, see `antipasto-bench results verify`")
        lines: list[bytes] = []
        run_ids: list[str] = []
        for line in read_regular(store.table).split(b"\n"):
            if not line.strip() or DIGEST in (values := parse_object(line)):
                lines.append(line)
                continue
            run_id = str(values["run_id"])
            paths = {ITEMS: store.items(run_id), EXCERPTS: store.excerpts(run_id)}
            digests = {name: sha256_of(path) for name, path in paths.items() if path.exists()}
            more = {"file_sha256": digests | values.get("file_sha256", {})} if digests else {}
            lines.append(json.dumps(with_digest(values | more), allow_nan=False).encode())
            run_ids.append(run_id)
        if run_ids:
            write_bytes(store.table, b"\n".join(lines))
    return run_ids
