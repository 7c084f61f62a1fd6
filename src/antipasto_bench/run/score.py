"""Test and validation scores of a run, from the model as it was trained."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

import antipasto

from ..core.errors import RunFailure, UserError
from ..store.record import RunRecord
from .active_run import ActiveRun
from .context import RunContext
from .evaluate import Evaluation, SplitScores
from .generation_settings import dropped_settings
from .methods.adapter import Adapter
from .methods.registry import adapter_on
from .progress import ScoringProgress
from .text_batches import text_batches

SAMPLE_TEXTS = 16  # that the error of merging is measured on
SAMPLE_TOKENS = 256  # of each: logits of a large vocabulary take a megabyte a token


def score(active: ActiveRun, model: nn.Module, tokenizer: Any, evaluation: Evaluation) -> dict[str, SplitScores]:
    """Score a run's splits, by the model as it was trained.

    The adapter is merged into the weights, which saves time, where that changes outputs by no more than
    `eval.merge_bound`; it is taken out again. What was found goes into the record.

    Returns:
        the scores by split; empty in all processes of a group but the first.

    Raises:
        UserError: vLLM scores merged weights alone, and they are not near enough to what was trained. The trained
            adapter stays in the workspace.
        RunFailure: the weights after scoring are not those before it.
    """
    run, context = active.run, active.context
    splits = ["test", *(["valid"] if evaluation.valid else [])]
    _note_dropped_settings(active, model)
    adapter = adapter_on(model)
    merges = adapter is not None and _choose_merged(active, adapter, tokenizer, evaluation)
    before = antipasto.tensor_checksums(dict(model.named_parameters())) if merges else {}
    if merges and adapter is not None:
        adapter.merge()
    scores: dict[str, SplitScores] = {}
    batch_size: int | None = None
    for split in splits:
        context.progress.phase(f"score {split}")
        with context.group.interrupted_by_lost_process(), _progress(context, split) as progress:
            result = evaluation.run(
                model,
                tokenizer,
                split,
                active.workspace.answers(split, merges),
                context.group,
                batch_size=batch_size,
                progress=progress,
            )
        context.models.free_memory()
        if result is not None:
            scores[split] = result
            if isinstance(run.eval.batch_size, int):  # what the test questions had to fall back to, in any process
                batch_size = min((size for size in result.batch_sizes if isinstance(size, int)), default=None)
        batch_size = context.group.broadcast(batch_size)
    if merges and adapter is not None:
        adapter.unmerge()
        if antipasto.tensor_checksums(dict(model.named_parameters())) != before:
            raise RunFailure("the weights after scoring are not those before it; unmerging was not exact")
    return scores


def _progress(context: RunContext, split: str) -> AbstractContextManager[ScoringProgress]:
    """Shown by the first process alone: each answers as many questions as the others."""
    return context.progress.scoring(split) if context.group.is_first else nullcontext(ScoringProgress())


def _note_dropped_settings(active: ActiveRun, model: Any) -> None:
    """Record and say once which of the model's own generation settings scoring leaves out."""
    dropped = dropped_settings(model)
    if active.record.provenance is not None:
        active.record.provenance.generation_settings_dropped = dropped
    if dropped:
        listed = ", ".join(f"{name}={value}" for name, value in dropped.items())
        active.context.progress.note(f"the model's own generation settings are left out of scoring: {listed}")


def _choose_merged(active: ActiveRun, adapter: Adapter, tokenizer: Any, evaluation: Evaluation) -> bool:
    """Whether merged weights are scored; the same in all processes of a group."""
    run, context, record = active.run, active.context, active.record
    if adapter.merge_refusal() is not None:
        record.scored_merged = False
        return False
    context.progress.phase("measure the error of merging")
    batches = text_batches(tokenizer, evaluation.sample_texts(SAMPLE_TEXTS), SAMPLE_TOKENS)
    error = context.group.broadcast(adapter.merge_error(batches))
    bound = run.eval.merge_bound
    record.merge_error = error if math.isfinite(error) else None
    record.scored_merged = bound is None or error <= bound
    if not record.scored_merged:
        far = f"merged weights in {run.dtype} are {error:.2g} of the adapter's effect away from what was trained"
        if run.eval.backend == "vllm":
            raise UserError(  # of settings, and no result of this learning rate: nothing is recorded
                f"{run.run_id}: {far}, more than eval.merge_bound={bound:g}, and eval.backend=vllm scores merged "
                "weights alone: this run has no score; write eval.backend=hf or dtype=float32, which is another run "
                "and trains anew"
            )
        context.progress.note(f"{far}: the adapter is scored unmerged")
    return record.scored_merged


def set_scores(scores: dict[str, SplitScores], record: RunRecord) -> None:
    """Put the scores of all splits into a record: the last of all, so that no failed run has any."""
    record.eval_s = sum(split.seconds for split in scores.values())
    record.metrics = {name: split.metrics for name, split in scores.items()}
    test, valid = scores["test"], scores.get("valid")
    record.test_n = test.count
    record.test_accuracy, record.test_stderr = test.headline()
    record.test_strict, record.test_strict_stderr = test.headline(strict=True)
    record.test_repeating = test.repeating
    record.test_loss, record.test_loss_stderr = test.loss
    if valid is not None:
        record.valid_n = valid.count
        record.valid_accuracy, record.valid_stderr = valid.headline()
        record.valid_strict, _ = valid.headline(strict=True)
        record.valid_loss, record.valid_loss_stderr = valid.loss
    if record.provenance is not None:
        record.provenance.eval_batch_size = batch_size_text(test, valid)


def batch_size_text(test: SplitScores, valid: SplitScores | None) -> int | str:
    """Questions at once in the end, of both splits where they differ."""
    if valid is None or valid.batch_size == test.batch_size:
        return test.batch_size
    return f"{test.batch_size} (valid: {valid.batch_size})"
