"""Held-out loss: how likely the model makes the reference solutions of questions that it was not trained on.

Each solution is encoded as a training example is. The loss is -log p of its completion tokens, the end token among
them, in nats, summed for each question. It is measured on the model as it was trained: the adapter is not merged.
"""

from __future__ import annotations

import gc
import math
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from antipasto.quantised import evaluating

from ..core.errors import out_of_memory
from ..store.items import LOSS_FILTER, LOSS_METRICS, Item, weighted_token_loss
from ..store.record import Score
from .active_run import ActiveRun
from .completion_loss import CompletionLoss
from .data import question_hash
from .evaluate import Evaluation, SplitScores
from .examples import Example, collate, encode
from .process_group import ALONE, ProcessGroup
from .progress import Progress
from .row_columns import QUESTION_FIELDS

BATCH_TOKENS = 4096  # of a batch, padding included; a longer solution has a batch of its own
BATCH_PADDING = 128  # tokens of padding in a batch; one more pass costs about as much
SECONDS_A_LINE = 30  # of progress

_CALCULATOR_MARK = re.compile(r"<<.*?>>")  # GSM8K's, as in "48/2 = <<48/2=24>>24"
_FINAL_ANSWER = re.compile(r"####\s*(\S.*)")


@dataclass(frozen=True)
class HeldoutLoss:
    """A split's loss: two items a question, and nats a completion token with their standard error."""

    items: list[Item]
    score: Score


def reference_solution(answer: str) -> str | None:
    """A GSM8K answer as MetaMathQA writes its responses.

    Calculator marks are taken out, and spaces and carriage returns at the ends of lines. The line `#### N` stays, and
    `The answer is: N` closes the text, where it does not end so already.

    Returns:
        None for an answer without `#### N`.
    """
    text = "\n".join(line.rstrip() for line in _CALCULATOR_MARK.sub("", answer).split("\n")).rstrip()
    numbers = _FINAL_ANSWER.findall(text)
    if not numbers:
        return None
    end = f"The answer is: {numbers[-1].rstrip()}"
    return text if text.endswith(end) else f"{text}\n{end}"


def measure_heldout_losses(
    active: ActiveRun, model: Any, tokenizer: Any, evaluation: Evaluation, valid: pl.DataFrame | None
) -> dict[str, HeldoutLoss]:
    """The losses of the test and the validation questions of the headline task, with the model as it stands.

    Args:
        valid: the validation questions, with the responses of rows that were held out.

    Returns:
        by split. A split is left out where a question of its task has no reference solution, or where the loss of one
        is not finite.
    """
    task = evaluation.test[0]  # the validation questions are put to the same task
    references = {
        "test": _references_of_task(task, evaluation.config.limit),
        "valid": references_of_valid(valid),
    }
    losses = {}
    for split, rows in references.items():
        if rows is None:
            continue
        show = _show_batches(active.context.progress, f"{split} loss")
        nats, tokens = reference_losses(model, tokenizer, rows, active.context.group, show)
        if not np.isfinite(nats).all():
            undefined = int((~np.isfinite(nats)).sum())
            warnings.warn(f"{split} loss is not recorded: it is not finite for {undefined} questions", stacklevel=2)
            continue
        losses[split] = HeldoutLoss(
            [
                Item(split, task.task_name, doc_id, question_hash(question), LOSS_FILTER, metric, float(value))
                for metric, values in zip(LOSS_METRICS, (nats, tokens), strict=True)
                for doc_id, (question, value) in enumerate(zip(rows["query"], values, strict=True))
            ],
            weighted_token_loss(nats, tokens),
        )
    return losses


def _show_batches(progress: Progress, name: str) -> Callable[[int, int], None]:
    """Begin a phase of the progress; the result takes batches done and in all, and shows them now and then."""
    progress.phase(name)
    began = shown = time.perf_counter()

    def show(done: int, count: int) -> None:
        nonlocal shown
        now = time.perf_counter()
        if now - shown >= SECONDS_A_LINE:
            shown = now
            progress.phase(f"{name}: {done}/{count} batches, {(now - began) / done * (count - done):.0f} s to go")

    return show


def with_losses(scores: Mapping[str, SplitScores], losses: Mapping[str, HeldoutLoss]) -> dict[str, SplitScores]:
    """The scores by split, with the losses of the splits that have one."""
    return {
        name: replace(split, items=[*split.items, *losses[name].items], loss=losses[name].score)
        if name in losses
        else split
        for name, split in scores.items()
    }


def _references_of_task(task: Any, limit: int | None) -> pl.DataFrame | None:
    """Query and response of the task's questions that are scored; None where one is not of GSM8K's schema."""
    rows = []
    for doc in islice(task.eval_docs, limit):
        question, answer = (doc.get(field) for field in QUESTION_FIELDS)
        response = reference_solution(answer) if isinstance(answer, str) else None
        if not isinstance(question, str) or response is None:
            return None
        rows.append({"query": question, "response": response})
    return pl.DataFrame(rows)


def references_of_valid(valid: pl.DataFrame | None) -> pl.DataFrame | None:
    """Query and response of the validation questions; None where one has no reference solution, or there are none."""
    if valid is None:
        return None
    own = "response" in valid.columns
    responses = list(valid["response"] if own else map(reference_solution, valid["answer"]))
    return None if None in responses else pl.DataFrame({"query": valid["question"], "response": responses})


def reference_losses(
    model: Any,
    tokenizer: Any,
    rows: pl.DataFrame,
    group: ProcessGroup = ALONE,
    on_batch: Callable[[int, int], None] = lambda done, count: None,
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """`losses_of_examples` of rows.

    No row is cut to `data.max_length`. One that is longer than the positions that the model has is cut there, with a
    warning.

    Args:
        rows: query, response.
    """
    return losses_of_examples(model, tokenizer, encode_references(model, tokenizer, rows), group, on_batch)


def encode_references(model: Any, tokenizer: Any, rows: pl.DataFrame) -> list[Example]:
    """The examples that `reference_losses` are of."""
    return _within_positions(model, encode(tokenizer, rows))


@torch.no_grad()
def losses_of_examples(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    group: ProcessGroup = ALONE,
    on_batch: Callable[[int, int], None] = lambda done, count: None,
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """-log p of each example's completion, given its prompt: nats summed over its tokens, in float64.

    Each module of the model comes back to the mode that it was in.

    Args:
        group: of processes that share the batches out; all of them return the same values.
        on_batch: called after each batch of this process with how many are done, and how many there are.

    Returns:
        nats (examples,) and completion tokens (examples,).
    """
    counts = [len(example.ids) - example.prompt_length for example in examples]
    loss = CompletionLoss(model)
    own = []
    with evaluating(model):
        batches = _batches(examples)[group.index :: group.size]
        for batch in batches:
            own.append((batch, _batch_losses(loss, [examples[i] for i in batch], tokenizer.pad_token_id)))
            on_batch(len(own), len(batches))
    nats = np.zeros(len(examples))
    # Copied from the device after all batches, so that no batch waits for the one before it.
    for batch, losses in [part for parts in group.gather([(b, t.cpu()) for b, t in own]) for part in parts]:
        of_rows = losses.double().split([counts[i] for i in batch])
        nats[batch] = [math.fsum(row.tolist()) for row in of_rows]
    return nats, np.array(counts, dtype=float)


def _batches(examples: Sequence[Example]) -> list[list[int]]:
    """Indices of examples of like length, by BATCH_TOKENS and BATCH_PADDING; those without a completion are left out.

    Several examples in one row, as training packs them, would need no padding. But attention without a mask is the
    fastest: packed, the same solutions take 1.3 times as long on SmolLM2 and 1.7 times on nano.
    """
    scored = [i for i, example in enumerate(examples) if len(example.ids) > example.prompt_length]
    batches: list[list[int]] = []
    longest = padding = 0
    for i in sorted(scored, key=lambda i: -len(examples[i].ids)):
        padding += longest - len(examples[i].ids)
        if batches and (len(batches[-1]) + 1) * longest <= BATCH_TOKENS and padding <= BATCH_PADDING:
            batches[-1].append(i)
        else:
            batches.append([i])
            longest, padding = len(examples[i].ids), 0
    return batches


def _batch_losses(loss: CompletionLoss, examples: list[Example], pad_id: int) -> Tensor:
    """-log p of every completion token of a batch, example after example; by halves where memory does not hold it."""
    try:
        return loss.of_tokens(collate(examples, pad_id))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error) or len(examples) == 1:
            raise
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(examples) // 2
    return torch.cat([_batch_losses(loss, part, pad_id) for part in (examples[:half], examples[half:])])


def _within_positions(model: Any, examples: list[Example]) -> list[Example]:
    """The examples, cut to the positions that the model has; a warning says how many were."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    longer = sum(len(example.ids) > limit for example in examples)
    if not longer:
        return examples
    warnings.warn(
        f"{longer} reference solutions are longer than the {limit} positions of the model; their loss is that of the "
        "tokens up to there",
        stacklevel=4,
    )
    whole = int(limit)
    return [replace(e, ids=e.ids[:whole], prompt_length=min(e.prompt_length, whole)) for e in examples]
