"""Train the adapter's parameters, and nothing else."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from antipasto import tensor_checksums

from ..core.errors import RunFailure
from ..core.signals import Interrupted, StopRequest
from ..spec.config import RunConfig
from .checkpointing import checkpointed
from .checkpoints import Checkpoint, Checkpoints
from .process_group import ALONE, ProcessGroup
from .step import AdapterOptimizer, StepMetrics


@dataclass(frozen=True)
class Step:
    """One optimizer step, as it is logged."""

    step: int
    loss: float  # nats a labelled token
    lr: float
    grad_norm: float  # before clipping
    tokens: int  # non-padding tokens seen in this step
    seconds: float  # of training so far, without what is done between the steps
    valid_loss: float | None = None  # held out, nats a completion token, after this step; where it was measured


@dataclass(frozen=True)
class TrainingResult:
    """Means and totals of all steps."""

    first_loss: float
    last_loss: float  # mean of the last tenth of the steps
    mean_grad_norm: float
    tokens: int
    seconds: float
    rows_at_once: int | None = None  # of a micro-batch in one pass, where memory held no whole one
    valid_curve: list[tuple[int, float]] | None = None  # steps and held-out losses; None where none was measured
    valid_curve_s: float | None = None  # that measuring them took

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


@dataclass(frozen=True)
class TrainingControl:
    """What happens around the steps.

    Args:
        on_step: called after every optimizer step.
        valid_loss: measures the held-out loss, in nats a completion token, every `run.valid_every` steps and after the
            last; None where it is not finite. It must leave the model, and every generator, as they were.
        checkpoints: where the state of training is written every `run.checkpoint` steps.
        resume_from: the checkpoint to go on from; on one CPU the result is the same to the last bit as without an
            interruption.
        stop: read after every step.
        group: of processes that take each step together; all are given the same batches.
        pauses: steps behind which `on_pause` is called.
        on_pause: called with the model as it is behind that step, whose log line is written. Its time is no part of
            the training's. It may end the training by raising.
    """

    on_step: Callable[[Step], None] = lambda step: None
    valid_loss: Callable[[], float | None] | None = None
    checkpoints: Checkpoints | None = None
    resume_from: Checkpoint | None = None
    stop: StopRequest | None = None
    group: ProcessGroup = ALONE
    pauses: Collection[int] = ()
    on_pause: Callable[[int], None] = lambda step: None


def learning_rate(step: int, run: RunConfig) -> float:
    """Linear warm-up over `warmup` of the steps, then by `schedule`. Steps count from 0.

    A half cosine or a line to zero, or constant. Of n steps without a warm-up, step s is at s / n of the way.
    """
    rising = max(1, round(run.warmup * run.steps)) if run.warmup else 0
    if step < rising:
        return run.lr * (step + 1) / rising
    passed = (step - rising) / max(1, run.steps - rising)
    if run.schedule == "constant":
        return run.lr
    return run.lr * (1 - passed) if run.schedule == "linear" else run.lr * 0.5 * (1 + math.cos(math.pi * passed))


@dataclass
class _State:
    """What has been measured of the steps so far; a checkpoint holds it."""

    losses: list[float]
    norms: list[float]
    tokens: int
    seconds: float
    curve: list[tuple[int, float]]
    curve_s: float

    @classmethod
    def of(cls, checkpoint: Checkpoint | None) -> _State:
        if checkpoint is None:
            return cls([], [], 0, 0.0, [], 0.0)
        state = checkpoint.state
        curve = [(step, loss) for step, loss in state["curve"]]
        losses, norms = list(state["losses"]), list(state["norms"])
        return cls(losses, norms, state["tokens"], state["seconds"], curve, state["curve_s"])


def train(
    model: nn.Module, run: RunConfig, batches: Iterator[dict[str, Tensor]], control: TrainingControl | None = None
) -> TrainingResult:
    """AdamW over the adapter's parameters: warm-up and schedule, clipping, gradient accumulation.

    Args:
        model: with an adapter attached, the one of `control.resume_from` where training goes on.
        batches: steps * grad_accum micro-batches from the beginning, see `bucketed_batches`.

    Raises:
        RunFailure: the loss or the gradient is not finite, or the base model received a gradient or changed.
        Interrupted: a stop was requested; a checkpoint of the last step was written.
    """
    control = control or TrainingControl()
    with checkpointed(run, model):
        return _train(model, run, batches, control)


def _train(
    model: nn.Module, run: RunConfig, batches: Iterator[dict[str, Tensor]], control: TrainingControl
) -> TrainingResult:
    optimizer = AdapterOptimizer(model, run, control.group)
    trained = {id(p) for p in optimizer.parameters}
    base = {name: p for name, p in model.named_parameters() if id(p) not in trained}
    checksums = tensor_checksums(base)
    model.train()
    torch.manual_seed(run.seed)  # a base model may have dropout
    state = _State.of(control.resume_from)
    if control.resume_from is not None:
        control.resume_from.restore(optimizer.optimizer)
        optimizer.rows_at_once = control.resume_from.state.get("rows_at_once")
        optimizer.taken = len(state.losses)
        for _ in range(len(state.losses) * run.grad_accum):
            next(batches)
    _take_steps(model, run, batches, optimizer, state, control)
    model.eval()
    if any(p.grad is not None or p.requires_grad for p in base.values()):
        raise RunFailure("the base model received a gradient; the adapter did not freeze all of it")
    if tensor_checksums(base) != checksums:
        raise RunFailure("the base model's weights changed while the adapter was trained")
    last = state.losses[-max(1, len(state.losses) // 10) :]
    mean_norm = sum(state.norms) / len(state.norms)
    rows = min((rows for rows in control.group.gather(optimizer.rows_at_once) if rows is not None), default=None)
    measured = run.valid_every is not None and control.valid_loss is not None
    return TrainingResult(
        first_loss=state.losses[0],
        last_loss=sum(last) / len(last),
        mean_grad_norm=mean_norm,
        tokens=state.tokens,
        seconds=state.seconds,
        rows_at_once=rows,
        valid_curve=state.curve if measured else None,
        valid_curve_s=state.curve_s if measured else None,
    )


def _take_steps(
    model: nn.Module,
    run: RunConfig,
    batches: Iterator[dict[str, Tensor]],
    optimizer: AdapterOptimizer,
    state: _State,
    control: TrainingControl,
) -> None:
    """Take the steps after those in `state`, and add their losses, norms and tokens to it.

    The clock stands while the held-out loss is measured, and while a step is shown and logged.
    """
    start = time.perf_counter() - state.seconds
    unread: deque[tuple[StepMetrics, int]] = deque()
    lag = int(optimizer.parameters[0].device.type == "cuda")  # a GPU is given the next step before one is read
    for step in range(len(state.losses), run.steps):
        micro_batches = [next(batches) for _ in range(run.grad_accum)]
        tokens = sum(int(batch["attention_mask"].sum()) for batch in micro_batches)
        signum = None if control.stop is None else control.stop.signum
        metrics = optimizer.step(micro_batches, learning_rate(step, run), signum)
        unread.append((metrics, tokens))
        last, signum = step + 1 == run.steps, metrics.signum
        due = signum is not None or (step + 1) % run.checkpoint == 0
        writes = control.checkpoints is not None and due and not last
        measures, pauses = _measures(control, run, step + 1), step + 1 in control.pauses
        while len(unread) > (0 if last or writes or measures or pauses or signum is not None else lag):
            metrics, tokens = unread.popleft()
            loss, norm = _finite(metrics, len(state.losses), run)
            state.losses.append(loss)
            state.norms.append(norm)
            state.tokens += tokens
            state.seconds = time.perf_counter() - start
            lr = learning_rate(len(state.losses) - 1, run)
            valid = _held_out(control, state) if measures and not unread else None
            control.on_step(Step(len(state.losses), loss, lr, norm, tokens, state.seconds, valid))
            start = time.perf_counter() - state.seconds
        if pauses:  # before a checkpoint: training that goes on from it does not come by here again
            paused = time.perf_counter()
            control.on_pause(step + 1)
            start += time.perf_counter() - paused
        if writes and control.checkpoints is not None:
            more = {"step": step + 1, "rows_at_once": optimizer.rows_at_once}
            control.checkpoints.write(step + 1, model, optimizer.optimizer, more | vars(state))
        if signum is not None and not last:
            raise Interrupted(signum, f"at step {step + 1} of {run.steps}")
    state.seconds = time.perf_counter() - start


def _measures(control: TrainingControl, run: RunConfig, step: int) -> bool:
    """Whether the held-out loss is measured after a step; steps count from 1."""
    if control.valid_loss is None or run.valid_every is None:
        return False
    return step % run.valid_every == 0 or step == run.steps


def _held_out(control: TrainingControl, state: _State) -> float | None:
    """Measure the held-out loss after the last step of `state`, and add it to its curve."""
    assert control.valid_loss is not None
    began = time.perf_counter()
    loss = control.valid_loss()
    state.curve_s += time.perf_counter() - began
    if loss is not None:
        state.curve.append((len(state.losses), loss))
    return loss


def _finite(metrics: StepMetrics, step: int, run: RunConfig) -> tuple[float, float]:
    """Loss and gradient norm of a step; steps count from 0.

    Raises:
        RunFailure: one of them is not finite.
    """
    loss, norm = metrics.read()
    for what, value in (("loss", loss), ("gradient norm", norm)):
        if not math.isfinite(value):
            raise RunFailure(f"the {what} is {value} at step {step + 1} of {run.steps} (lr {run.lr:g})")
    return loss, norm
