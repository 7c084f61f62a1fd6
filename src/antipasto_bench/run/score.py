"""Test and validation scores of a run, from the model as it was trained."""

from __future__ import annotations

from typing import Any

from torch import nn

import antipasto

from ..core.errors import RunFailure
from ..spec.config import BASE
from ..store.record import RunRecord
from .active_run import ActiveRun
from .evaluate import Evaluation, SplitScores


def score(active: ActiveRun, model: nn.Module, tokenizer: Any, evaluation: Evaluation) -> dict[str, SplitScores]:
    """Score a run's splits.

    The adapter is folded into the weights where it can be, and taken out again.

    Returns:
        the scores by split; empty in all processes of a group but the first.

    Raises:
        RunFailure: the weights after scoring are not those before it.
    """
    run, context = active.run, active.context
    splits = ["test", *(["valid"] if evaluation.valid else [])]
    merges = run.variant != BASE and antipasto.merge_refusal(model) is None
    before = antipasto.tensor_checksums(dict(model.named_parameters())) if merges else {}
    if merges:
        antipasto.merge(model)
    scores: dict[str, SplitScores] = {}
    for split in splits:
        context.progress.phase(f"score {split}")
        with context.group.interrupted_by_lost_process():
            result = evaluation.run(model, tokenizer, split, active.workspace.answers(split), context.group)
        if result is not None:
            scores[split] = result
    if merges:
        antipasto.unmerge(model)
        if antipasto.tensor_checksums(dict(model.named_parameters())) != before:
            raise RunFailure("the weights after scoring are not those before it; unmerging was not exact")
    return scores


def set_scores(scores: dict[str, SplitScores], record: RunRecord) -> None:
    """Put the scores of all splits into a record: the last of all, so that no failed run has any."""
    record.eval_s = sum(split.seconds for split in scores.values())
    record.metrics = {name: split.metrics for name, split in scores.items()}
    test, valid = scores["test"], scores.get("valid")
    record.test_n = test.count
    record.test_accuracy, record.test_stderr = test.headline()
    record.test_strict, record.test_strict_stderr = test.headline(strict=True)
    record.test_loss, record.test_loss_stderr = test.loss
    if valid is not None:
        record.valid_n = valid.count
        record.valid_accuracy, record.valid_stderr = valid.headline()
        record.valid_strict, _ = valid.headline(strict=True)
        record.valid_loss, record.valid_loss_stderr = valid.loss
    if record.provenance is not None:
        record.provenance.eval_batch_size = test.batch_size
