"""Standard errors of single runs, over kinds of question where there are kinds, as those of the tables are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..analysis.arms import Arm
from ..analysis.losses import loss_over_seeds, loss_table
from ..analysis.stats import summarise
from ..store.folders import Store
from ..store.items import headline_scores, items_of, token_losses
from ..store.record import RunRecord

STANDARD_ERRORS = ("test_stderr", "test_loss_stderr", "valid_loss_stderr")  # fields of a record
OVER_KINDS, OVER_QUESTIONS = "over kinds of question", "over questions, as if independent"

KindsOfQuestions = Mapping[tuple[str, ...], tuple[str, ...]]  # by the sha1 of all questions


def kinds_of_questions(arms: Iterable[Arm]) -> KindsOfQuestions:
    """The kinds of each set of questions that some arm was scored on and that has any."""
    return {arm.questions: arm.kinds for arm in arms if arm.kinds is not None}


def errors_over_kinds(record: RunRecord, store: Store, kinds_of: KindsOfQuestions) -> dict[str, float]:
    """A run's standard errors by field of its record: those that are over kinds, and none where there are no kinds."""
    items = items_of(record, store, "test") if kinds_of else None
    if not items:
        return {}
    test, losses, errors = headline_scores(items), token_losses(items), dict[str, float]()
    kinds = kinds_of.get(tuple(test.questions))
    if kinds is None:
        return {}
    if np.isin(test.scores, (0.0, 1.0)).all():
        errors["test_stderr"] = summarise(test.scores, None, False, kinds).stderr
    if losses is not None and len(losses[1]) == len(kinds):
        nats, tokens = losses
        _, error = loss_over_seeds(loss_table(nats[None], tokens), None, False, kinds)
        if error is not None:
            errors["test_loss_stderr"] = error
    return errors
