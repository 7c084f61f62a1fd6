"""The kinds of a run's test questions: from the `type` of each, or from benchmark/kinds/TASK.csv.

That file names the kinds of a task's own questions where the task has no such column: kinds change no answer, so they
lie outside the task's folder, whose content is a part of each run's id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from ..core.errors import UserError
from ..core.paths import benchmark_dir
from ..spec.data_and_eval import EvalConfig
from ..store.evidence import backed
from ..store.folders import Store
from ..store.items import headline_scores, headline_task, items_of
from ..store.kinds import Kinds, grouping, questions_digest, read_kinds, write_kinds
from ..store.table import read_records
from .data import question_hash
from .row_columns import kind_name
from .rows import read_rows

KINDS_FIELDS = ("sha1", "type")  # of a question, as results/items have it; and its kind


def kinds_in(questions: pl.DataFrame) -> Kinds:
    """The kind of each question that has one, by its sha1; none where two rows of a question differ.

    Args:
        questions: with the columns `question` and, perhaps, `type`.
    """
    if "type" not in questions.columns:
        return {}
    rows = questions.select("question", "type").iter_rows()
    return _one_each((question_hash(question), kind) for question, kind in rows)


def kinds_of_task(task: str) -> Kinds | None:
    """The kinds that benchmark/kinds names for a task's own questions; None where it names none."""
    path = _file_of(task)
    return (
        None if not path.is_file() else _one_each(read_rows(str(path), KINDS_FIELDS).select(KINDS_FIELDS).iter_rows())
    )


def kinds_among(questions: Iterable[tuple[str, Mapping[str, Any]]], known: Kinds | None) -> Kinds | None:
    """The kinds of the questions that a task asked, where they sort them into groups: see `grouping`.

    Args:
        questions: the sha1 of each, and lm-eval's document.
        known: kinds by sha1; None where a document's `type` names its kind.
    """
    questions = list(questions)
    kinds = _one_each((sha1, _kind_of(document)) for sha1, document in questions) if known is None else known
    return grouping({sha1: kinds.get(sha1) for sha1, _ in questions})


def refuse_kinds(task: Any, known: Kinds | None, scoring: EvalConfig) -> None:
    """Refuse fewer answers than losses of questions that come in kinds: both are averaged over the same kinds.

    Args:
        task: lm-eval's, the headline one.
        known: see `kinds_among`.

    Raises:
        UserError: with what to write.
    """
    asked = ((question_hash(str(doc.get("question"))), doc) for doc in islice(task.eval_docs, scoring.limit))
    if kinds_among(asked, known) is not None:
        few, where = scoring.answer_limit, scoring.data or task.task_name
        raise UserError(f"eval.answer_limit={few}: the questions of {where} come in kinds; write eval.limit={few}")


def add_kinds(store: Store) -> list[str]:
    """Write the kinds of test questions that were recorded without them, where benchmark/kinds names them.

    Damaged files are written anew; what is whole stays.

    Returns:
        a line for each file that was written.
    """
    lines = []
    for record in backed([record for record in read_records(store.table) if record.status == "ok"], store):
        task = headline_task(record)
        known = None if record.config.eval.data is not None else kinds_of_task(task)
        if known is None:
            continue
        questions = headline_scores(items_of(record, store, "test")).questions
        kinds = grouping({question: known.get(question) for question in questions})
        path = store.kinds(questions_digest(questions))
        if kinds is not None and not _is_whole(path):
            write_kinds(path, kinds)
            lines.append(f"kinds/{path.name}: {len(set(kinds.values()))} kinds of {len(kinds)} questions of {task}")
    return lines


def _file_of(task: str) -> Path:
    return benchmark_dir() / "kinds" / f"{task}.csv"


def _is_whole(path: Path) -> bool:
    try:
        return read_kinds(path) is not None
    except ValueError:
        return False


def _kind_of(document: Mapping[str, Any]) -> str | None:
    try:
        return kind_name(document.get("type"))
    except ValueError:  # no text that UTF-8 could hold
        return None


def _one_each(kinds: Iterable[tuple[str, str | None]]) -> Kinds:
    """The kinds of the questions that have one."""
    found: dict[str, set[str | None]] = {}
    for question, kind in kinds:
        found.setdefault(question, set()).add(kind)
    return {question: kind for question, each in found.items() if len(each) == 1 and (kind := next(iter(each)))}
