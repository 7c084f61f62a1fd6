"""Rows and questions: read from a file, a saved dataset or the hub, checked, and split into training and validation."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ..core.errors import UserError, first_line
from ..core.paths import locate
from ..spec.config import DataConfig, EvalConfig

TRAIN_FIELDS = ("query", "response")
QUESTION_FIELDS = ("question", "answer")
_ANSWER = re.compile(r"The answer is:?\s*\$?(-?[\d,]*\.?\d+)\s*\.?\s*$")


# ------------------------------------------------------------------ reading


def read_rows(reference: str, fields: tuple[str, ...], split: str = "train") -> pl.DataFrame:
    """All rows of a data set, with at least these text columns.

    Args:
        reference: a .jsonl or .parquet file, a folder written by `datasets`' save_to_disk, or a hub id
            (`org/name`, or `org/name:config`).
        fields: the columns that must be there, all text, none empty.
        split: which split of a folder or of a hub data set.

    Raises:
        UserError: it is not there, is empty, or a row lacks a field; for jsonl the line is named.
    """
    place = locate(reference)
    if place is None:
        return _checked(_from_hub(reference, split), fields, reference)
    if place.is_dir():
        return _checked(_from_folder(place, split), fields, str(place))
    if place.suffix == ".parquet":
        try:
            return _checked(pl.read_parquet(place), fields, str(place))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise UserError(f"{place}: cannot be read as parquet: {first_line(error)}") from error
    if place.suffix in (".jsonl", ".ndjson"):
        return _from_jsonl(place, fields)
    raise UserError(f"{place}: expected a .jsonl or .parquet file, or a saved dataset folder")


def _from_jsonl(path: Path, fields: tuple[str, ...]) -> pl.DataFrame:
    rows = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:  # not JSON, or not UTF-8
                raise UserError(f"{path}, line {number}: not JSON ({error})") from error
            for field in fields:
                if not isinstance(row, dict) or not isinstance(row.get(field), str) or not row[field].strip():
                    raise UserError(f"{path}, line {number}: no text under {field!r}; expected {', '.join(fields)}")
            rows.append({k: v for k, v in row.items() if isinstance(v, str)})
    if not rows:
        raise UserError(f"{path}: is empty; expected one JSON object a line with {', '.join(fields)}")
    return pl.DataFrame(rows, infer_schema_length=None)


def _from_folder(folder: Path, split: str) -> pl.DataFrame:
    from datasets import DatasetDict, load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: not a folder that datasets' save_to_disk wrote: {first_line(error)}") from error
    if isinstance(saved, DatasetDict):
        if split not in saved:
            raise UserError(f"{folder}: has no split {split!r} (it has: {', '.join(saved)})")
        saved = saved[split]
    return pl.DataFrame(saved.to_polars())


def _from_hub(reference: str, split: str) -> pl.DataFrame:
    from datasets import load_dataset

    name, _, config = reference.partition(":")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or Path(name).suffix in (".jsonl", ".parquet", ".json", ".csv"):
        raise UserError(f"{reference}: no such file or folder, and not a hub id (org/name)")
    try:
        return pl.DataFrame(load_dataset(name, config or None, split=split).to_polars())
    except Exception as error:  # the hub's client has no common base for being offline, absent or gated
        raise UserError(
            f"{reference}: no such file here, and the hub gave no data set of that name ({first_line(error)}); "
            "go online once to fill the cache, or give a .jsonl, .parquet or saved dataset folder by its path"
        ) from error


def _checked(frame: pl.DataFrame, fields: tuple[str, ...], name: str) -> pl.DataFrame:
    if frame.is_empty():
        raise UserError(f"{name}: is empty; expected rows with {', '.join(fields)}")
    for field in fields:
        if field not in frame.columns:
            raise UserError(f"{name}: has no column {field!r} (it has: {', '.join(frame.columns)})")
        if frame.schema[field] != pl.String:
            raise UserError(f"{name}: column {field!r} is {frame.schema[field]}, expected text")
        empty = frame.select(pl.arg_where(pl.col(field).fill_null("").str.strip_chars() == "")).to_series()
        if len(empty):
            raise UserError(f"{name}: row {empty[0] + 1} has no text under {field!r}")
    return frame


# ------------------------------------------------------------------ splits


@dataclass(frozen=True)
class Splits:
    """What a run reads: rows to train on, and questions to validate on that none of those rows came from."""

    train: pl.DataFrame  # query, response, original_question
    valid: pl.DataFrame | None  # question, answer; of rows that were held out their own response too


def load_splits(data: DataConfig, scoring: EvalConfig) -> Splits:
    """Training rows and validation questions, disjoint by original question.

    `eval.valid=holdout` sets `valid_limit` questions of the training data aside: those whose row is unaltered
    (query = original_question) and ends in a number, GSM's alone where there are any. They are taken in the order
    of their hash, so that every run over the same data holds out the same ones. Whatever was held out, no row
    that was derived from it is trained on.
    """
    rows = read_rows(data.train, TRAIN_FIELDS, data.split)
    if "original_question" not in rows.columns:
        rows = rows.with_columns(original_question=pl.col("query"))
    rows = rows.with_columns(pl.col("original_question").fill_null(pl.col("query")))
    valid = None
    if scoring.valid == "holdout":
        valid = _hold_out(rows, scoring.valid_limit, data.train)
    elif scoring.valid != "none":
        valid = read_questions(scoring.valid, "test").head(scoring.valid_limit)
    if valid is not None:
        rows = rows.filter(~pl.col("original_question").is_in(valid["question"].implode()))
    rows = rows.select(*TRAIN_FIELDS, "original_question")
    if data.limit is not None:
        rows = rows.head(data.limit)
    if rows.is_empty():
        raise UserError(f"{data.train}: every row was held out for validation; lower eval.valid_limit")
    return Splits(rows, valid)


def _hold_out(rows: pl.DataFrame, limit: int, name: str) -> pl.DataFrame:
    unaltered = rows.filter(pl.col("query") == pl.col("original_question"))
    if "type" in rows.columns and rows["type"].str.starts_with("GSM").any():
        unaltered = unaltered.filter(pl.col("type").str.starts_with("GSM"))  # MetaMathQA's other half is MATH
    unaltered = unaltered.unique("query", keep="first", maintain_order=True)
    questions = [
        {"question": query, "answer": f"#### {answer[1].replace(',', '')}", "response": response}
        for query, response in unaltered.select(TRAIN_FIELDS).iter_rows()
        if (answer := _ANSWER.search(response))
    ]
    if not questions:
        raise UserError(f"{name}: no row ends in 'The answer is: N', so none can be held out; give eval.valid=none")
    questions.sort(key=lambda q: question_hash(q["question"]))
    return pl.DataFrame(questions[: min(limit, max(1, len(questions) // 2))])


def read_questions(reference: str, split: str) -> pl.DataFrame:
    """Questions of GSM8K's schema, each answer ending `#### N`.

    Raises:
        UserError: as `read_rows`; or an answer without its `#### N`. What counts as a number is the task's to say:
            `Evaluation` asks it.
    """
    questions = read_rows(reference, QUESTION_FIELDS, split).select(QUESTION_FIELDS)
    for number, answer in enumerate(questions["answer"], start=1):
        _, mark, end = answer.rpartition("#### ")
        if not mark:
            raise UserError(f"{reference}, question {number}: the answer does not end in '#### N'")
        if not any(map(str.isnumeric, end)):
            raise UserError(
                f"{reference}, question {number}: {end.strip()[:40]!r} behind '####' holds no number; expected '#### N'"
            )
    return questions


def read_texts(reference: str, limit: int) -> list[str]:
    """The first `limit` texts of some length from a data set with a `text` column.

    Raises:
        UserError: it is not there, or has no such column.
    """
    place = locate(reference)
    rows = read_rows(reference, ("text",), "test") if place is not None else _from_hub(reference, "test")
    if "text" not in rows.columns:
        raise UserError(f"eval.general={reference}: has no column 'text' (it has: {', '.join(rows.columns)})")
    texts = [text for text in rows["text"] if text and len(text.split()) >= 3]  # headings and blank lines are no text
    if not texts:
        raise UserError(f"eval.general={reference}: holds no text")
    return texts[:limit]


def question_hash(question: str) -> str:
    """The sha1 that names a question in results/items."""
    return hashlib.sha1(question.encode()).hexdigest()
