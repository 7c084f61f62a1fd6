"""Questions and training rows of a run: checked, and split into training and validation."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from ..core.errors import UserError
from ..core.paths import locate
from ..spec.config import DataConfig, EvalConfig
from .arrow_rows import read_dataset
from .hub_sets import load_hub_set
from .question_text import copy_key, normal_form, words_of
from .row_columns import QUESTION_FIELDS
from .rows import TRAIN_FIELDS, Origin, Rows, read_rows, read_source

NAMED_PLACES = 4  # of rows that are wrong in the same way
_ANSWER = re.compile(r"The answer is:?\s*\$?(-?[\d,]*\.?\d+)\s*\.?\s*$")


# ------------------------------------------------------------------ questions


def question_hash(question: str) -> str:
    """The sha1 that names a question in results/items."""
    return hashlib.sha1(question.encode("utf-8", "surrogatepass")).hexdigest()


def first_of_each(questions: Iterable[str]) -> tuple[list[int], tuple[int, int] | None]:
    """The places of questions that no earlier one equals in normal form, and the first pair of equal ones."""
    places: dict[str, int] = {}
    pair = None
    for place, question in enumerate(questions):
        first = places.setdefault(normal_form(question), place)
        if first != place and pair is None:
            pair = (first, place)
    return list(places.values()), pair


def others_like_it(places: Sequence[str], count: int) -> str:
    """The tail of an error about the first of some rows: how many are like it, and the places of the first few."""
    if count < 2:
        return ""
    return f" ({count} rows are so: {'; '.join(places)}{'; ...' if count > len(places) else ''})"


def read_questions(reference: str, split: str) -> pl.DataFrame:
    """Questions of GSM8K's schema, as `question_source` reads them, without their kinds."""
    return question_source(reference, split).frame.select(QUESTION_FIELDS)


def question_source(reference: str, split: str, revision: str | None = None) -> Rows:
    """Questions of GSM8K's schema, each answer ending `#### N`; with their `type` where there is such a column.

    Args:
        revision: `eval.revision`.

    Raises:
        UserError: as `read_source`; an answer without its `#### N`; or a question that comes twice in a file. A hub
            set, which its user cannot mend, may have one twice.
    """
    source = read_source(reference, QUESTION_FIELDS, split, revision, "eval.revision")
    questions = source.frame
    ends = [answer.rpartition("#### ") for answer in questions["answer"]]
    unmarked = [index for index, (_, mark, _) in enumerate(ends) if not mark]
    unnumbered = [index for index, (_, mark, end) in enumerate(ends) if mark and not any(map(str.isnumeric, end))]
    for wrong, why in (
        (unmarked, "the answer does not end in '#### N'"),
        (unnumbered, "{end!r} behind '####' holds no number; expected '#### N'"),
    ):
        if wrong:
            said = why.format(end=ends[wrong[0]][2].strip()[:40])
            places = [source.origin.place(index) for index in wrong[:NAMED_PLACES]]
            raise UserError(f"{reference}, {places[0]}: {said}{others_like_it(places, len(wrong))}")
    _, pair = first_of_each(questions["question"])
    if pair is not None and locate(reference) is not None:
        first, second = (source.origin.place(index) for index in pair)
        raise UserError(f"{reference}: {first} and {second} ask the same question, which would count twice; remove one")
    return source


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
    held_out: int = 0  # rows that are not trained on, since they ask a validation question

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
    that was derived from it is trained on: none whose query or original question is a copy of it (`copy_key`).

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
        valid, valid_commit = _hold_out(rows, scoring.valid_limit, data.train, source.origin), source.origin.commit
    elif scoring.valid != "none":
        questions = question_source(scoring.valid, "test")
        once, _ = first_of_each(questions.frame["question"])
        valid = questions.frame.select(QUESTION_FIELDS)[once].head(scoring.valid_limit)
        valid_commit = questions.origin.commit
    places = list(range(len(rows)))
    if valid is not None:
        derived = _copies_among([rows["query"], rows["original_question"]], valid["question"])
        trained = ~(rows["query"].is_in(derived) | rows["original_question"].is_in(derived))
        rows, places = rows.filter(trained), trained.arg_true().to_list()
    rows = rows.select(*TRAIN_FIELDS, "original_question")
    held_out = len(source.frame) - len(rows)
    if rows.is_empty():
        mend = "lower eval.valid_limit" if scoring.valid == "holdout" else "give other questions, or eval.valid=holdout"
        raise UserError(f"{data.train}: every row asks a validation question of eval.valid={scoring.valid}; {mend}")
    return Splits(rows, valid, source.origin, places, valid_commit, held_out).first(data.limit)


def _copies_among(columns: list[pl.Series], questions: pl.Series) -> list[str]:
    """The texts of some columns that are copies of questions, as `copy_key` compares them."""
    keys = {copy_key(question) for question in questions}
    words = {own for own, _ in keys}  # most texts are told apart by their words alone, in half the time
    texts = pl.concat(columns).unique()
    return [text for text in texts if (words_of(text) or (normal_form(text),)) in words and copy_key(text) in keys]


def _hold_out(rows: pl.DataFrame, limit: int, name: str, origin: Origin) -> pl.DataFrame:
    unaltered = rows.with_row_index("place").filter(pl.col("query") == pl.col("original_question"))
    if "type" in rows.columns and rows["type"].str.starts_with("GSM").any():
        unaltered = unaltered.filter(pl.col("type").str.starts_with("GSM"))  # MetaMathQA's other half is MATH
    unaltered = unaltered[first_of_each(unaltered["query"])[0]]
    questions, unanswered = [], []
    for query, response, place in unaltered.select(*TRAIN_FIELDS, "place").iter_rows():
        if answer := _ANSWER.search(response):
            number = answer[1].replace(",", "")
            questions.append({"question": query, "answer": f"#### {number}", "response": response})
        else:
            unanswered.append(place)
    if not questions:
        raise UserError(f"{name}: no row ends in 'The answer is: N', so none can be held out; give eval.valid=none")
    questions.sort(key=lambda q: question_hash(q["question"]))
    taken = questions[: min(limit, max(1, len(questions) // 2))]
    if unanswered and len(taken) < limit:
        warnings.warn(
            f"eval.valid=holdout: {len(taken)} questions are held out, not {limit}: the responses to {len(unanswered)} "
            f"others do not end in 'The answer is: N'; the first is {name}, {origin.place(unanswered[0])}",
            stacklevel=3,
        )
    return pl.DataFrame(taken)
