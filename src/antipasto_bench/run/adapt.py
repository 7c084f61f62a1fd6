"""The adapter of a run: attached and trained here, or as an earlier try of the same run left it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import polars as pl
from torch import Generator, nn

from ..core.errors import UserError
from ..core.signals import Interrupted
from ..spec.config import RunConfig
from ..store.record import Size, Timing, Training
from .active_run import ActiveRun
from .attach import attach
from .captured_gradients import check_capturing
from .checkpointing import check_checkpointing
from .checkpoints import Checkpoint
from .examples import Example, bucketed_batches
from .methods.registry import adapter_for, require_adapter
from .model_probes import packs
from .tracking import tracking
from .train import Step, TrainingControl, train
from .training_log import cut_log, leave_out_damaged_steps, log_step
from .validation import validation_loss


@dataclass(frozen=True)
class Pauses:
    """Steps behind which something is done with the model; it may end the training by raising."""

    steps: Collection[int]
    on_pause: Callable[[int], None]


def adapt(
    active: ActiveRun,
    model: nn.Module,
    tokenizer: Any,
    valid: pl.DataFrame | None = None,
    pauses: Pauses | None = None,
) -> Any:
    """Put the trained adapter onto the model, and what was measured of its training into the record.

    An adapter that an earlier try trained is loaded; an interrupted training goes on from its last checkpoint.

    Args:
        valid: the validation questions, for `valid_every`.
        pauses: of the training, see `TrainingControl`.

    Returns:
        what is called in place of the model from here on, see `Adapter.model`.

    Raises:
        UserError: the adapter does not fit the model, or a setting of its training does not fit the model or the data.
        RunFailure: training diverged.
        Interrupted: a signal asked to stop; a checkpoint was written.
    """
    run, context, workspace = active.run, active.context, active.workspace
    trained = workspace.trained()
    checkpoint = workspace.checkpoints.latest() if trained is None and run.trains else None
    context.group.barrier()  # until all processes have looked: then the first begins to write
    if trained is not None:
        context.progress.phase("attach what was trained")
        if context.group.is_first:
            leave_out_damaged_steps(workspace.folder.log, run.steps if run.trains else 0)
        adapter_for(run, model).load(run, workspace.folder.adapter)
    else:
        held_out = validation_loss(run, model, tokenizer, valid, context.group) if run.trains else None
        examples, attach_s = _attach(active, model, tokenizer, checkpoint)
        with context.stop.deferred():  # until the adapter is saved: a signal behind the last step loses no step
            training, timing = _train(active, model, tokenizer.pad_token_id, examples, checkpoint, held_out, pauses)
            timing.attach_s = attach_s
            context.models.free_memory()  # on a GPU: what a step took is of no use to scoring, nor to other processes
            if context.group.is_first:
                trained = workspace.save_trained(model, _size(run, model), training, timing)
        if context.stop.signum is not None:
            raise Interrupted(context.stop.signum, "after training")
    if trained is not None:
        for part in (trained.size, trained.training, trained.timing):
            active.record.take(part)
    return require_adapter(model).model


def _attach(
    active: ActiveRun, model: nn.Module, tokenizer: Any, checkpoint: Checkpoint | None
) -> tuple[list[Example], float]:
    """Attach the adapter, that of the checkpoint where there is one.

    Returns:
        the training examples, and the seconds that attaching took when it was done first.
    """
    run, context, workspace = active.run, active.context, active.workspace
    if run.pack and not packs(model):
        raise UserError(f"pack=true: {run.model} carries one example on into the next of its row; write pack=false")
    if run.trains:
        check_checkpointing(run, model)
        check_capturing(run, model)
    context.progress.phase("attach")
    examples = context.models.examples(run, tokenizer)
    if checkpoint is None:
        attach_s = attach(run, model, tokenizer, examples)
    else:
        adapter_for(run, model).load(run, checkpoint.adapter)
        attach_s = checkpoint.state["attach_s"]
        context.progress.phase(f"go on from step {checkpoint.state['step']} of {run.steps}")
    if run.trains and run.cuda_graphs and not run.method.steps_alike:
        context.progress.note(f"plain   steps of {run.variant} may differ in their operations: no CUDA graphs")
    context.progress.note(f"adapt {require_adapter(model).in_words()}")
    context.group.broadcast_tensors(require_adapter(model).shared_tensors())
    # All that the user could have got wrong was checked; from here on the run leaves traces.
    workspace.begin()
    workspace.checkpoints.extra_state = {"attach_s": attach_s}
    return examples, attach_s


def _size(run: RunConfig, model: nn.Module) -> Size:
    counts = require_adapter(model).counts(run)
    return Size(trained_parameters=counts.parameters, added_macs_per_token=counts.macs)


def _train(
    active: ActiveRun,
    model: nn.Module,
    pad_id: int,
    examples: list[Example],
    checkpoint: Checkpoint | None,
    held_out: Callable[[], float | None] | None,
    pauses: Pauses | None,
) -> tuple[Training, Timing]:
    """Train the adapter where there is anything to train, with a line of log for each step."""
    run, context, workspace = active.run, active.context, active.workspace
    if not run.trains:
        return Training(), Timing()
    first, log_path = context.group.is_first, workspace.folder.log
    logged = cut_log(log_path, {} if checkpoint is None else checkpoint.state) if first else 0
    watched = run if first else run.model_copy(update={"track": "none"})
    with (
        tracking(watched, active.record.run_id, workspace.folder, logged) as track,
        open(log_path if first else os.devnull, "a", encoding="utf-8") as log,
        context.progress.training(run.steps) as show,
    ):

        def on_step(step: Step) -> None:
            log.write(log_step(step))
            log.flush()
            show(step)
            track(step)

        order = Generator().manual_seed(run.seed)
        width = run.data.max_length if run.pack else None
        batches = bucketed_batches(examples, run.batch_size, pad_id, order, width=width)
        control = TrainingControl(
            on_step=on_step,
            valid_loss=held_out,
            checkpoints=workspace.checkpoints if first else None,
            resume_from=checkpoint,
            stop=context.stop,
            group=context.group,
            pauses=() if pauses is None else pauses.steps,
            on_pause=(lambda step: None) if pauses is None else pauses.on_pause,
        )
        result = train(require_adapter(model).model, run, batches, control)
    training = Training(
        first_loss=result.first_loss,
        last_loss=result.last_loss,
        mean_grad_norm=result.mean_grad_norm,
        train_rows_at_once=result.rows_at_once,
        train_tokens=result.tokens,
        train_tokens_per_s=result.tokens_per_second,
        completion_tokens=_distinct_completion_tokens(examples),
        valid_curve=result.valid_curve,
    )
    return training, Timing(train_s=result.seconds, valid_curve_s=result.valid_curve_s)


def _distinct_completion_tokens(examples: list[Example]) -> int:
    """Tokens that bear the loss, those of an example that is trained on again counted once."""
    distinct = {(e.prompt_length, tuple(e.ids)) for e in examples}
    return sum(len(ids) - prompt_length for prompt_length, ids in distinct)
