"""How a run that was made again compares with its row: question by question, by loss, and by the adapter's bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import UserError
from ..store.file_digests import SAMPLES
from ..store.folders import Store
from ..store.items import headline_scores, items_of
from ..store.record import RunRecord
from ..store.repeats import Outcome, RepeatRecord, row_digest
from .arms import different_questions
from .conditions import changed_conditions


@dataclass(frozen=True)
class Tolerance:
    """How far a repeat on another kind of machine may be from its row.

    Training lets a difference in the last bit grow: a repeat elsewhere is another draw of the run, as another seed is.
    Some two to four times what other kernels alone did to runs of nano, see docs/repeatability.md.
    """

    accuracy: float = 0.1  # share of questions, net: gained less lost
    loss: float = 0.02  # nats a completion token


def compare_repeat(
    recorded: RunRecord, repeated: RunRecord, store: Store, scratch: Store, tolerance: Tolerance
) -> RepeatRecord:
    """Compare a repeat with its row.

    Args:
        store: that holds the row's questions.
        scratch: that holds the repeat's.

    Raises:
        UserError: questions are missing, or they are other questions.
    """
    own, again = (
        headline_scores(items_of(record, place, "test")) for record, place in ((recorded, store), (repeated, scratch))
    )
    if different_questions(recorded.run_id, own.questions, repeated.run_id, again.questions) is not None:
        raise UserError(f"{recorded.run_id} was asked other questions when it was recorded; the test data have changed")
    assert recorded.provenance is not None
    assert repeated.provenance is not None
    assert repeated.finished_at is not None
    same_items = recorded.items_sha256 == repeated.items_sha256
    same_adapter = _same(recorded.adapter_sha256, repeated.adapter_sha256)
    gained, lost = int(np.sum(again.scores > own.scores)), int(np.sum(again.scores < own.scores))
    environment = changed_conditions(recorded, repeated)
    outcome: Outcome = "differs"
    if same_items and same_adapter is not False:
        outcome = "same bits"
    elif abs(gained - lost) <= tolerance.accuracy * len(own.questions) and _is_near(recorded, repeated, tolerance):
        outcome = "within tolerance"
    return RepeatRecord(  # type: ignore[call-arg]  # `schema` has a default under its other name
        run_id=recorded.run_id,
        compared_row=row_digest(recorded),
        outcome=outcome,
        demanded="within tolerance" if environment else "same bits",
        same_adapter=same_adapter,
        same_items=same_items,
        same_answers=_same(recorded.file_sha256.get(SAMPLES), repeated.file_sha256.get(SAMPLES)),
        questions=len(own.questions),
        gained=gained,
        lost=lost,
        recorded_accuracy=float(own.scores.mean()),
        repeated_accuracy=float(again.scores.mean()),
        recorded_loss=recorded.test_loss,
        repeated_loss=repeated.test_loss,
        accuracy_tolerance=tolerance.accuracy,
        loss_tolerance=tolerance.loss,
        environment=environment,
        recorded_commit=recorded.provenance.git.commit,
        recorded_at=recorded.finished_at,
        finished_at=repeated.finished_at,
        seconds=repeated.total_s or 0.0,
        provenance=repeated.provenance,
    )


def _same(recorded: str | None, repeated: str | None) -> bool | None:
    return None if recorded is None else recorded == repeated


def _is_near(recorded: RunRecord, repeated: RunRecord, tolerance: Tolerance) -> bool:
    """Whether the losses are; a row without one has nothing to be near to."""
    if recorded.test_loss is None or repeated.test_loss is None:
        return recorded.test_loss is None
    return abs(repeated.test_loss - recorded.test_loss) <= tolerance.loss


def in_words(result: RepeatRecord) -> list[str]:
    """What a repeat shows, a line each."""
    n = result.questions
    accuracy = (
        f"accuracy: {100 * result.recorded_accuracy:.1f} % recorded, {100 * result.repeated_accuracy:.1f} % again; of "
        f"{n} questions {result.lost} that were right are wrong, and {result.gained} that were wrong are right"
    )
    loss = result.loss_difference
    lines = [
        accuracy,
        "held-out loss: not recorded"
        if loss is None
        else f"held-out loss: {result.recorded_loss:.4f} recorded, {result.repeated_loss:.4f} again ({loss:+.4f} nats "
        "a token)",
        f"bits: adapter {_word(result.same_adapter)}, scores and losses of every question {_word(result.same_items)}, "
        f"answers {_word(result.same_answers)}",
        f"made elsewhere: {'; '.join(result.environment)}"
        if result.environment
        else "made alike: the same kind of machine, threads and versions",
    ]
    return [*lines, _verdict(result)]


def _word(same: bool | None) -> str:
    return {True: "the same", False: "different", None: "not recorded"}[same]


def _verdict(result: RepeatRecord) -> str:
    tolerance = f"{100 * result.accuracy_tolerance:g} % of the questions and {result.loss_tolerance:g} nats a token"
    if result.outcome == "same bits":
        return "same bits: it repeats to the last bit"
    if result.demanded == "same bits":
        return f"differs: on the same kind of machine the bits should be the same ({result.outcome}: {tolerance})"
    return f"{result.outcome}: elsewhere it may be {tolerance} away"
