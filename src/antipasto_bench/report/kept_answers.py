"""The answers that are kept of each question: results/runs has a few of every run, by their text alone.

They are the first right ones in the order of the questions' hashes, and as many wrong ones (store/excerpts.py). So the
scores of a run say which questions they are of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..analysis.arms import Arm
from ..store.excerpts import Answer, Excerpts


class KeptAnswer(NamedTuple):
    """An answer of one of an arm's runs."""

    run: int  # its place among the arm's records
    question: int  # its place among the arm's questions
    answer: Answer


def kept_answers(arm: Arm, excerpts: Mapping[str, Excerpts]) -> list[KeptAnswer]:
    """Every answer of an arm's runs that is kept; none of a run whose excerpts are not those of its scores.

    Args:
        excerpts: by run id.
    """
    kept: list[KeptAnswer] = []
    for place, (record, scores) in enumerate(zip(arm.records, arm.scores, strict=False)):  # runs that diverged are last
        answers = excerpts[record.run_id].answers
        right, wrong = _in_order(arm.questions, scores.tolist())
        of_right, of_wrong = ([answer for answer in answers if answer.right is is_right] for is_right in (True, False))
        if len(of_right) > len(right) or len(of_wrong) > len(wrong) or len(record.config.eval.tasks) > 1:
            continue
        pairs = [*zip(right, of_right, strict=False), *zip(wrong, of_wrong, strict=False)]
        kept += [KeptAnswer(place, question, answer) for question, answer in pairs]
    return kept


def _in_order(questions: Sequence[str], scores: Sequence[float]) -> tuple[list[int], list[int]]:
    """The places of the questions that were answered right, and of the others; one that comes twice counts once."""
    best: dict[str, tuple[int, float]] = {}
    for i, (sha1, score) in enumerate(zip(questions, scores, strict=True)):
        known = best.get(sha1)
        best[sha1] = (i, score) if known is None else (known[0], max(known[1], score))
    right = [i for i, score in best.values() if score > 0]
    return right, [i for i, score in best.values() if not score > 0]


def texts_of_questions(kept: Iterable[KeptAnswer]) -> dict[int, tuple[object, object]]:
    """The prompt and the target of each question that an answer is kept of.

    A question for which two answers name different texts is left out: one of them is of another question.
    """
    texts: dict[int, tuple[object, object]] = {}
    contradicted = set[int]()
    for each in kept:
        own = each.answer.prompt, each.answer.target
        if texts.setdefault(each.question, own) != own:
            contradicted.add(each.question)
    return {question: own for question, own in texts.items() if question not in contradicted}
