"""Test questions in the training rows and among the validation questions.

A training row overlaps where its query or original question is a copy of a test question, or where its query, original
question or response shares 13 words in a row with one or holds a whole one of at least 8 words. Words are those of the
normal form without punctuation. 13 of them in a row are the measure of Brown et al., Language Models are Few-Shot
Learners, 2020, appendix C. Responses are searched too, as they are trained on, and one may restate a question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from ..core.errors import UserError
from ..spec.config import DataConfig, RunConfig
from .data import Splits
from .question_text import Words, copy_key, words_of

WORDS = 13  # in a row
WHOLE_WORDS = 8  # of the shortest question that overlaps with a longer text that holds it
# A run of 13 words holds exactly one run of 7 that begins at a multiple of 7: no other place has to be looked at first.
_STRIDE = (WORDS + 1) // 2
_WHOLE_STRIDE = (WHOLE_WORDS + 1) // 2  # the same of 8 words, and of more
_LONGEST_EXCERPT = 100  # characters of a question in a message


@dataclass(frozen=True)
class Overlap:
    """The training rows that hold test questions, by their index."""

    copies: frozenset[int]  # whose query or original question is a test question
    shared: frozenset[int]  # others that share 13 words in a row with one, or hold a whole one of at least 8 words

    @property
    def counts(self) -> dict[str, int]:
        return {"copies": len(self.copies), "shared_13_grams": len(self.shared)}

    def before(self, end: int) -> Overlap:
        """Of the first rows alone."""
        copies, shared = (frozenset(row for row in rows if row < end) for rows in (self.copies, self.shared))
        return Overlap(copies, shared)

    def in_words(self) -> str:
        return (
            f"{len(self.copies)} training rows are copies of test questions, "
            f"and {len(self.shared)} share {WORDS} words in a row with one or hold a whole one"
        )


# ------------------------------------------------------------------ training rows


def find_overlap(rows: pl.DataFrame, questions: Iterable[str]) -> Overlap:
    """Which rows hold one of the questions.

    Args:
        rows: query, original_question, response.
        questions: of the test, as they are put to the model.
    """
    keys = {copy_key(question) for question in questions}
    words = {own for own, _ in keys}
    holds_words = _search(words)
    columns = [rows["query"], rows["original_question"]]
    copies, shared = list[str](), list[str]()
    for text in pl.concat(columns).unique():
        own = words_of(text)
        if own in words and copy_key(text) in keys:
            copies.append(text)
        elif holds_words(own):
            shared.append(text)
    restating = [text for text in rows["response"].unique() if holds_words(words_of(text))]
    rows_of_copies = _rows_with(columns, copies)
    rows_that_share = _rows_with(columns, shared) | _rows_with([rows["response"]], restating)
    return Overlap(rows_of_copies, rows_that_share - rows_of_copies)


def _search(questions: Iterable[Words]) -> Callable[[Words], bool]:
    """What says whether a text's words share 13 in a row with a question, or are more than a whole one of 8 or more."""
    questions = set(questions)
    runs = {run for each in questions for run in _runs(each, WORDS, 1)}
    parts = {part for run in runs for part in _runs(run, _STRIDE, 1)}
    short = {each for each in questions if WHOLE_WORDS <= len(each) < WORDS}  # the longer ones have a run of 13
    short_parts = {part for each in short for part in _runs(each, _WHOLE_STRIDE, 1)}
    lengths = {len(each) for each in short}

    def holds(own: Words) -> bool:
        if not parts.isdisjoint(_runs(own, _STRIDE, _STRIDE)) and not runs.isdisjoint(_runs(own, WORDS, 1)):
            return True
        if short_parts.isdisjoint(_runs(own, _WHOLE_STRIDE, _WHOLE_STRIDE)):
            return False
        return any(len(own) > length and not short.isdisjoint(_runs(own, length, 1)) for length in lengths)

    return holds


def _rows_with(columns: list[pl.Series], texts: list[str]) -> frozenset[int]:
    return frozenset(index for column in columns for index in column.is_in(texts).arg_true())


def _runs(words: Words, length: int, step: int) -> list[Words]:
    return [words[start : start + length] for start in range(0, len(words) - length + 1, step)]


def without_test_questions(splits: Splits, questions: Iterable[str], data: DataConfig) -> tuple[Splits, Overlap]:
    """The splits to train on, as `data.overlap` and `data.limit` allow them, and what overlapped.

    Rows that hold test questions are dropped before `data.limit` rows are taken. The overlap is that of the rows which
    were taken or passed over.

    Args:
        splits: with all rows, whatever `data.limit`.

    Raises:
        UserError: rows hold test questions and the setting refuses them, or no other row is left.
    """
    drops = data.overlap == "drop"
    if not drops:
        splits = splits.first(data.limit)
    overlap = find_overlap(splits.train, questions)
    rows = overlap.copies | overlap.shared
    refused = {"refuse": rows, "refuse-copies": overlap.copies}.get(data.overlap)
    if refused:
        raise UserError(_refusal(splits, overlap, min(refused), data))
    if not drops:
        return splits, overlap
    left = [index for index in range(len(splits.train)) if index not in rows][: data.limit]
    if not left:
        raise UserError(f"data.train={data.train}: every row holds a test question; give other data")
    whole = data.limit is None or len(left) < data.limit
    return splits.only(left), overlap if whole else overlap.before(left[-1])


def _refusal(splits: Splits, overlap: Overlap, first: int, data: DataConfig) -> str:
    return (
        f"data.train={data.train}: {overlap.in_words()}; the first is "
        f"{splits.origin.place(splits.places[first])}: {_excerpt(splits.train['query'][first])}; write "
        "data.overlap=drop to leave them out, or data.overlap=allow"
    )


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _LONGEST_EXCERPT else f"{line[:_LONGEST_EXCERPT]}...")


# ------------------------------------------------------------------ validation questions


def validation_without_test_questions(
    valid: pl.DataFrame | None, questions: Iterable[str], run: RunConfig
) -> tuple[pl.DataFrame | None, int]:
    """The validation questions as `data.overlap` allows them, and how many were copies of test questions.

    By them a learning rate would be chosen on the test. What is left out is not replaced: `drop` can leave fewer than
    `eval.valid_limit`.

    Args:
        valid: question, answer; None without a validation split.

    Raises:
        UserError: some are copies and the setting refuses them, or no other one is left.
    """
    if valid is None:
        return None, 0
    tested = {copy_key(question) for question in questions}
    copies = [copy_key(question) in tested for question in valid["question"]]
    count = sum(copies)
    setting = f"eval.valid={run.eval.valid}"
    if not count or run.data.overlap == "allow":
        return valid, count
    if run.data.overlap != "drop":
        raise UserError(
            f"{setting}: {validation_in_words(count)}; the first is {_excerpt(valid['question'][copies.index(True)])}; "
            "write data.overlap=drop to leave them out, or data.overlap=allow"
        )
    if count == len(valid):
        raise UserError(f"{setting}: every validation question is a test question; give others, or eval.valid=none")
    return valid.filter(~pl.Series(copies)), count


def validation_in_words(count: int) -> str:
    return f"{count} validation questions are copies of test questions"
