"""Test questions in the training rows: whole copies, and questions that share 13 words in a row with one.

Words are those of the normal form without punctuation. 13 of them in a row are the measure of Brown et al., Language
Models are Few-Shot Learners, 2020, appendix C.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from ..core.errors import UserError
from ..spec.config import DataConfig
from .data import Splits, normal_form

WORDS = 13  # in a row
# A run of 13 words holds exactly one run of 7 that begins at a multiple of 7: no other place has to be looked at first.
_STRIDE = (WORDS + 1) // 2
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)  # the same, of ASCII, in a tenth of the time
_LONGEST_EXCERPT = 100  # characters of a question in a message


@dataclass(frozen=True)
class Overlap:
    """The training rows that hold test questions, by their index."""

    copies: frozenset[int]  # whose query or original question is a test question, in normal form
    shared: frozenset[int]  # others that share 13 words in a row with one

    @property
    def counts(self) -> dict[str, int]:
        return {"copies": len(self.copies), "shared_13_grams": len(self.shared)}

    def in_words(self) -> str:
        return (
            f"{len(self.copies)} training rows are copies of test questions, "
            f"and {len(self.shared)} share {WORDS} words in a row with one"
        )


def find_overlap(rows: pl.DataFrame, questions: Iterable[str]) -> Overlap:
    """Which rows hold one of the questions.

    Args:
        rows: query, original_question.
        questions: of the test, as they are put to the model.
    """
    whole = {normal_form(question) for question in questions}
    words = {_words(question) for question in whole}
    runs = {run for each in words for run in _runs(each, WORDS, 1)}
    parts = {part for run in runs for part in _runs(run, _STRIDE, 1)}
    columns = [rows["query"], rows["original_question"]]
    copies, shared = list[str](), list[str]()
    for text in pl.concat(columns).unique():
        own = _words(text)
        if own in words and normal_form(text) in whole:
            copies.append(text)
        elif not parts.isdisjoint(_runs(own, _STRIDE, _STRIDE)) and not runs.isdisjoint(_runs(own, WORDS, 1)):
            shared.append(text)
    rows_of_copies = _rows_with(columns, copies)
    return Overlap(rows_of_copies, _rows_with(columns, shared) - rows_of_copies)


def _rows_with(columns: list[pl.Series], texts: list[str]) -> frozenset[int]:
    return frozenset(index for column in columns for index in column.is_in(texts).arg_true())


def _words(text: str) -> tuple[str, ...]:
    """The words of a text's normal form, without punctuation."""
    if text.isascii():
        return tuple(text.lower().translate(_WITHOUT_PUNCTUATION).split())
    return tuple(_PUNCTUATION.sub("", normal_form(text)).split())


def _runs(words: tuple[str, ...], length: int, step: int) -> list[tuple[str, ...]]:
    return [words[start : start + length] for start in range(0, len(words) - length + 1, step)]


def without_test_questions(splits: Splits, questions: Iterable[str], data: DataConfig) -> tuple[Splits, Overlap]:
    """The splits as `data.overlap` allows them: whole, or without the rows that hold test questions.

    Raises:
        UserError: rows hold test questions and the setting refuses them, or no other row is left.
    """
    overlap = find_overlap(splits.train, questions)
    rows = overlap.copies | overlap.shared
    refused = {"refuse": rows, "refuse-copies": overlap.copies}.get(data.overlap)
    if refused:
        raise UserError(_refusal(splits, overlap, min(refused), data))
    if data.overlap != "drop" or not rows:
        return splits, overlap
    if len(rows) == len(splits.train):
        raise UserError(f"data.train={data.train}: every row holds a test question; give other data")
    return splits.without(rows), overlap


def _refusal(splits: Splits, overlap: Overlap, first: int, data: DataConfig) -> str:
    question = " ".join(splits.train["query"][first].split())
    excerpt = question if len(question) <= _LONGEST_EXCERPT else f"{question[:_LONGEST_EXCERPT]}..."
    return (
        f"data.train={data.train}: {overlap.in_words()}; the first is "
        f"{splits.origin.place(splits.places[first])}: {excerpt!r}; write data.overlap=drop to leave them out, or "
        "data.overlap=allow"
    )
