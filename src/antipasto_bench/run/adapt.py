"""The adapter of a run: attached and trained here, or as an earlier try of the same run left it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from torch import Generator, nn

import antipasto

from ..core.errors import UserError
from ..core.signals import Interrupted
from ..spec.config import RunConfig
from ..store.record import Size, Timing, Training
from .active_run import ActiveRun
from .attach import attach
from .checkpoints import Checkpoint
from .examples import Example, bucketed_batches
from .model_probes import packs
from .train import Step, TrainingControl, train
from .training_log import cut_log, leave_out_damaged_steps, log_step


@dataclass(frozen=True)
class Pauses:
    """Steps behind which something is done with the model; it may end the training by raising."""

    steps: Collection[int]
    on_pause: Callable[[int], None]


def adapt(active: ActiveRun, model: nn.Module, tokenizer: Any, pauses: Pauses | None = None) -> None:
    """Put the trained adapter onto the model, and what was measured of its training into the record.

    An adapter that an earlier try trained is loaded; an interrupted training goes on from its last checkpoint.

    Args:
        pauses: of the training, see `TrainingControl`.

    Raises:
        UserError: the adapter does not fit the model.
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
        antipasto.load(model, workspace.folder.adapter)
    else:
        examples, attach_s = _attach(active, model, tokenizer, checkpoint)
        with context.stop.deferred():  # until the adapter is saved: a signal behind the last step loses no step
            training, timing = _train(active, model, tokenizer.pad_token_id, examples, checkpoint, pauses)
            timing.attach_s = attach_s
            if context.group.is_first:
                trained = workspace.save_trained(model, _size(run, model), training, timing)
        if context.stop.signum is not None:
            raise Interrupted(context.stop.signum, "after training")
        if trained is None:
            return
    for part in (trained.size, trained.training, trained.timing):
        active.record.take(part)


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
    context.progress.phase("attach")
    examples = context.models.examples(run, tokenizer)
    if checkpoint is None:
        attach_s = attach(run, model, tokenizer, examples)
    else:
        antipasto.load(model, checkpoint.adapter)
        attach_s = checkpoint.state["attach_s"]
        context.progress.phase(f"go on from step {checkpoint.state['step']} of {run.steps}")
    context.progress.note(f"adapt {_adapted(model)}")
    context.group.broadcast_adapter(model)
    # All that the user could have got wrong was checked; from here on the run leaves traces.
    workspace.begin()
    workspace.checkpoints.extra_state = {"attach_s": attach_s}
    return examples, attach_s


def _adapted(model: nn.Module) -> str:
    """The kinds of layers that have the adapter, and of matrices that all-linear leaves out."""
    state = antipasto.attachment(model)
    left_out = antipasto.kinds_left_out(model, state.cfg)
    return antipasto.kinds_of(state.targets) + (f"; all-linear leaves out {left_out}" if left_out else "")


def _size(run: RunConfig, model: nn.Module) -> Size:
    cfg, targets = run.adapter_config, antipasto.attachment(model).targets.values()
    macs = sum(antipasto.added_macs(cfg, int(t.in_features), int(t.out_features)) for t in targets)
    trained = sum(p.numel() for p in antipasto.trainable_parameters(model).values())
    return Size(trained_parameters=trained, added_macs_per_token=macs)


def _train(
    active: ActiveRun,
    model: nn.Module,
    pad_id: int,
    examples: list[Example],
    checkpoint: Checkpoint | None,
    pauses: Pauses | None,
) -> tuple[Training, Timing]:
    """Train the adapter where there is anything to train, with a line of log for each step."""
    run, context, workspace = active.run, active.context, active.workspace
    if not run.trains:
        return Training(), Timing()
    first, log_path = context.group.is_first, workspace.folder.log
    if first:
        cut_log(log_path, {} if checkpoint is None else checkpoint.state)
    with (
        open(log_path if first else os.devnull, "a", encoding="utf-8") as log,
        context.progress.training(run.steps) as show,
    ):

        def on_step(step: Step) -> None:
            log.write(log_step(step))
            log.flush()
            show(step)

        order = Generator().manual_seed(run.seed)
        width = run.data.max_length if run.pack else None
        batches = bucketed_batches(examples, run.batch_size, pad_id, order, width=width)
        control = TrainingControl(
            on_step=on_step,
            checkpoints=workspace.checkpoints if first else None,
            resume_from=checkpoint,
            stop=context.stop,
            group=context.group,
            pauses=() if pauses is None else pauses.steps,
            on_pause=(lambda step: None) if pauses is None else pauses.on_pause,
        )
        result = train(model, run, batches, control)
    training = Training(
        first_loss=result.first_loss,
        last_loss=result.last_loss,
        mean_grad_norm=result.mean_grad_norm,
        train_rows_at_once=result.rows_at_once,
        train_tokens=result.tokens,
        train_tokens_per_s=result.tokens_per_second,
    )
    return training, Timing(train_s=result.seconds)
