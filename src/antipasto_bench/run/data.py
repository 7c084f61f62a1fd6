"""Questions and training rows of a run: checked, and split into training and validation."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from ..core.errors import UserError
from ..core.paths import locate
from ..spec.config import DataConfig, EvalConfig
from .arrow_rows import read_dataset
from .hub_sets import load_hub_set
from .rows import TRAIN_FIELDS, Origin, Rows, read_rows, read_source

QUESTION_FIELDS = ("question", "answer")
_ANSWER = re.compile(r"The answer is:?\s*\$?(-?[\d,]*\.?\d+)\s*\.?\s*$")


# ------------------------------------------------------------------ questions


def normal_form(text: str) -> str:
    """A text without differences that no reader sees: of Unicode form (NFKC), case, white space, and characters
    without a width of their own (category Cf, such as U+200B)."""
    if text.isascii():  # most are, and their Unicode form is one
        return " ".join(text.lower().split())
    visible = "".join(each for each in unicodedata.normalize("NFKC", text) if unicodedata.category(each) != "Cf")
    return " ".join(visible.casefold().split())


def question_hash(question: str) -> str:
    """The sha1 that names a question in results/items."""
    return hashlib.sha1(question.encode()).hexdigest()


def first_of_each(questions: Iterable[str]) -> tuple[list[int], tuple[int, int] | None]:
    """The places of questions that no earlier one equals in normal form, and the first pair of equal ones."""
    places: dict[str, int] = {}
    pair = None
    for place, question in enumerate(questions):
        first = places.setdefault(normal_form(question), place)
        if first != place and pair is None:
            pair = (first, place)
    return list(places.values()), pair


def read_questions(reference: str, split: str) -> pl.DataFrame:
    """Questions of GSM8K's schema, as `question_source` reads them."""
    return question_source(reference, split).frame


def question_source(reference: str, split: str, revision: str | None = None) -> Rows:
    """Questions of GSM8K's schema, each answer ending `#### N`.

    Args:
        revision: `eval.revision`.

    Raises:
        UserError: as `read_source`; an answer without its `#### N`; or a question that comes twice in a file. A hub
            set, which its user cannot mend, may have one twice.
    """
    source = read_source(reference, QUESTION_FIELDS, split, revision, "eval.revision")
    questions = source.frame.select(QUESTION_FIELDS)
    for index, answer in enumerate(questions["answer"]):
        _, mark, end = answer.rpartition("#### ")
        place = f"{reference}, {source.origin.place(index)}"
        if not mark:
            raise UserError(f"{place}: the answer does not end in '#### N'")
        if not any(map(str.isnumeric, end)):
            raise UserError(f"{place}: {end.strip()[:40]!r} behind '####' holds no number; expected '#### N'")
    _, pair = first_of_each(questions["question"])
    if pair is not None and locate(reference) is not None:
        first, second = (source.origin.place(index) for index in pair)
        raise UserError(f"{reference}: {first} and {second} ask the same question, which would count twice; remove one")
    return Rows(questions, source.origin)


def read_texts(reference: str, limit: int) -> list[str]:
    """The first `limit` texts of some length from a data set with a `text` column.

    Raises:
        UserError: it is not there, or has no such column.
    """
    if locate(reference) is not None:
        rows = read_rows(reference, ("text",), "test")
    else:  # where lines may be empty
        loaded = load_hub_set(reference, "test", None, "eval.general")
        rows = read_dataset(loaded, ("text",), f"eval.general={reference}", blank=True)
    texts = [text for text in rows["text"] if text and len(text.split()) >= 3]  # headings and blank lines are no text
    if not texts:
        raise UserError(f"eval.general={reference}: holds no text")
    return texts[:limit]


# ------------------------------------------------------------------ splits


@dataclass(frozen=True)
class Splits:
    """What a run reads: rows to train on, and questions to validate on that none of those rows came from."""

    train: pl.DataFrame  # query, response, original_question
    valid: pl.DataFrame | None  # question, answer; of rows that were held out their own response too
    origin: Origin  # of all rows
    places: list[int]  # of each row to train on, among all
    valid_commit: str | None = None  # of a hub set that the validation questions were read from

    def only(self, rows: Sequence[int]) -> Splits:
        """The same with some of the rows to train on, given by their index in `train`."""
        return replace(self, train=self.train[rows], places=[self.places[row] for row in rows])

    def first(self, count: int | None) -> Splits:
        """The same with the first rows to train on; with all where None."""
        return replace(self, train=self.train.head(count or len(self.train)), places=self.places[:count])


def load_splits(data: DataConfig, scoring: EvalConfig) -> Splits:
    """Training rows and validation questions, disjoint by original question.

    `eval.valid=holdout` sets `valid_limit` questions of the training data aside: those whose row is unaltered
    (query = original_question) and ends in a number, GSM's alone where there are any. They are taken in the order
    of their hash, so that every run over the same data holds out the same ones. Whatever was held out, no row
    that was derived from it is trained on: none whose query or original question has its normal form.

    Raises:
        UserError: as `read_source` and `question_source`; or no row is left to train on.
    """
    source = read_source(data.train, TRAIN_FIELDS, data.split, data.revision)
    rows = source.frame
    if "original_question" not in rows.columns:
        rows = rows.with_columns(original_question=pl.col("query"))
    rows = rows.with_columns(pl.col("original_question").fill_null(pl.col("query")))
    valid, valid_commit = None, None
    if scoring.valid == "holdout":
        valid, valid_commit = _hold_out(rows, scoring.valid_limit, data.train), source.origin.commit
    elif scoring.valid != "none":
        questions = question_source(scoring.valid, "test")
        once, _ = first_of_each(questions.frame["question"])
        valid, valid_commit = questions.frame[once].head(scoring.valid_limit), questions.origin.commit
    places = list(range(len(rows)))
    if valid is not None:
        held = {normal_form(question) for question in valid["question"]}
        texts = pl.concat([rows["query"], rows["original_question"]]).unique()
        derived = [text for text in texts if normal_form(text) in held]
        trained = ~(rows["query"].is_in(derived) | rows["original_question"].is_in(derived))
        rows, places = rows.filter(trained), trained.arg_true().to_list()
    rows = rows.select(*TRAIN_FIELDS, "original_question")
    if rows.is_empty():
        raise UserError(f"{data.train}: every row was held out for validation; lower eval.valid_limit")
    return Splits(rows, valid, source.origin, places, valid_commit).first(data.limit)


def _hold_out(rows: pl.DataFrame, limit: int, name: str) -> pl.DataFrame:
    unaltered = rows.filter(pl.col("query") == pl.col("original_question"))
    if "type" in rows.columns and rows["type"].str.starts_with("GSM").any():
        unaltered = unaltered.filter(pl.col("type").str.starts_with("GSM"))  # MetaMathQA's other half is MATH
    unaltered = unaltered[first_of_each(unaltered["query"])[0]]
    questions = [
        {"question": query, "answer": f"#### {answer[1].replace(',', '')}", "response": response}
        for query, response in unaltered.select(TRAIN_FIELDS).iter_rows()
        if (answer := _ANSWER.search(response))
    ]
    if not questions:
        raise UserError(f"{name}: no row ends in 'The answer is: N', so none can be held out; give eval.valid=none")
    questions.sort(key=lambda q: question_hash(q["question"]))
    return pl.DataFrame(questions[: min(limit, max(1, len(questions) // 2))])
