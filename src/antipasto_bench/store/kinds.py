"""The kind of each test question: results/kinds/<digest>.json, one file for the questions of a test set.

A kind belongs to a question and to no run, so runs that were scored on the same questions share the file, whose name is
the digest of those questions. It holds a digest of itself as well.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from ..core.errors import UserError
from ..core.files import read_regular, write_bytes, write_json
from ..core.fingerprint import once_at_rest
from .checked_json import parse_object, with_digest, without_digest
from .evidence import warn
from .file_digests import KINDS, read_checked
from .folders import Store
from .items import headline_scores, items_of
from .record import RunRecord
from .run_folder import RunFolder

Kinds = Mapping[str, str]  # by the sha1 of a question, as its items have it
_Sha1 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}\z")]


class _Groups(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    kinds: dict[str, list[_Sha1]]  # the questions of each kind


def questions_digest(questions: Iterable[str]) -> str:
    """sha256 of the questions of a test set, whatever their order.

    Args:
        questions: sha1 of each.
    """
    return hashlib.sha256("\n".join(sorted(set(questions))).encode()).hexdigest()


def grouping(kinds: Mapping[str, str | None]) -> Kinds | None:
    """The kinds, where they sort the questions into groups; None where a question has none, where all have the same, or
    where no two share one.
    """
    whole = {question: kind for question, kind in kinds.items() if kind is not None}
    return whole if len(whole) == len(kinds) and 2 <= len(set(whole.values())) < len(whole) else None


def write_kinds(path: Path, kinds: Kinds) -> None:
    """Write a file of kinds: equal kinds give equal bytes."""
    groups: dict[str, list[str]] = {}
    for question, kind in sorted(kinds.items()):
        groups.setdefault(kind, []).append(question)
    write_json(path, with_digest({"kinds": groups}))


def parse_kinds(content: bytes) -> Kinds:
    """Kinds from the content of a file.

    Raises:
        ValueError: they are not what was written.
    """
    try:
        groups = _Groups.model_validate(without_digest(parse_object(content), required=True)).kinds
    except ValidationError as error:
        raise ValueError("holds no kinds of questions") from error
    kinds = {question: kind for kind, questions in groups.items() for question in questions}
    if len(kinds) < sum(map(len, groups.values())):
        raise ValueError("has a question in two kinds")
    return kinds


def read_kinds(path: Path) -> Kinds | None:
    """The kinds of the questions that a file of results/kinds is named by; None where there is none.

    Raises:
        ValueError: it cannot be read, or is not what was written.
    """
    if not path.exists():
        return None
    kinds = parse_kinds(read_checked(path, None))
    if questions_digest(kinds) != path.stem:
        raise ValueError("holds the kinds of other questions")
    return kinds


def store_kinds(folder: RunFolder, store: Store) -> None:
    """Bring the kinds that a run's folder has, where it has any, into results/kinds.

    Those that results/ have already stay, so that runs of today do not change what is said of earlier ones.

    Raises:
        OSError, ValueError: the folder's are damaged, or nothing can be written.
    """
    if not folder.kinds.exists():
        return
    content = read_regular(folder.kinds)
    kinds = parse_kinds(content)
    path = store.kinds(questions_digest(kinds))
    try:
        recorded = read_kinds(path)
    except ValueError:
        recorded = None
    if recorded is None:
        write_bytes(path, content)
    elif recorded != kinds:
        warnings.warn(
            f"{folder.path.name}: its test questions have other kinds than {path} has for them, which stay",
            stacklevel=2,
        )


def kinds_of(records: Sequence[RunRecord], questions: Sequence[str], store: Store) -> tuple[str, ...] | None:
    """The kind of each question of some runs; None where there are none, with a warning if they are lost or damaged.

    Args:
        questions: sha1 of each, the same in all the runs.
    """
    path = store.kinds(questions_digest(questions))
    try:
        kinds = _expected_kinds(path, records)
    except ValueError as error:
        warn(f"kinds/{path.name}: {error}; the kinds of its questions are left out")
        return None
    return None if kinds is None else tuple(kinds[question] for question in questions)


def kinds_problems(record: RunRecord, store: Store) -> list[str]:
    """What is wrong with the kinds of a result's questions, where its run had any.

    The kinds of questions that are damaged themselves are nobody's.
    """
    try:
        groups = items_of(record, store, "test", twice=True)  # as they were read to be verified
        path = store.kinds(questions_digest(headline_scores(groups).questions))
    except (UserError, ValueError):
        return []
    try:
        _expected_kinds(path, [record])
    except ValueError as error:
        return [f"kinds/{path.name} {error}"]
    return []


def damaged_kinds(store: Store) -> list[str]:
    """A line for each file of results/kinds that is not what was written."""
    lines = []
    for path in sorted((store.results / "kinds").glob("*.json")):
        try:
            read_kinds(path)
        except ValueError as error:
            lines.append(f"kinds/{path.name} {error}")
    return lines


def _expected_kinds(path: Path, records: Sequence[RunRecord]) -> Kinds | None:
    kinds = once_at_rest("kinds", str(path), lambda: read_kinds(path))  # the arms of a table share their questions
    if kinds is None and any(KINDS in record.file_sha256 for record in records):
        raise ValueError("is missing")
    return kinds
