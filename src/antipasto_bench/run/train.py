"""Train the adapter's parameters, and nothing else."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, nn

from antipasto import bits_of

from ..core.errors import RunFailure
from ..core.signals import Interrupted, Stop
from ..spec.config import RunConfig
from .checkpoints import Checkpoint, Checkpoints
from .data import Example, bucketed_batches
from .process_group import ALONE, Group
from .step import Optimisation, Reading


@dataclass(frozen=True)
class Step:
    """One optimizer step, as it is logged."""

    step: int
    loss: float  # nats a completion token
    lr: float
    grad_norm: float  # before clipping
    tokens: int  # non-padding tokens seen in this step
    seconds: float  # since training began


@dataclass(frozen=True)
class Training:
    """What a training run has to say for itself."""

    first_loss: float
    last_loss: float  # mean of the last tenth of the steps
    mean_grad_norm: float
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def learning_rate(step: int, run: RunConfig) -> float:
    """Linear warm-up over `warmup` of the steps, then a half cosine to zero. Steps count from 0."""
    rising = max(1, round(run.warmup * run.steps))
    if step < rising:
        return run.lr * (step + 1) / rising
    return run.lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, run.steps - rising)))


def train(
    model: nn.Module,
    run: RunConfig,
    examples: list[Example],
    pad_id: int,
    generator: Generator,
    on_step: Callable[[Step], None] = lambda step: None,
    *,
    checkpoints: Checkpoints | None = None,
    begun: Checkpoint | None = None,
    stop: Stop | None = None,
    group: Group = ALONE,
) -> Training:
    """AdamW over the adapter's parameters: cosine with warm-up, clipping, gradient accumulation.

    Args:
        model: with an adapter attached, the one of `begun` where training was begun before.
        examples: steps * batch_size * grad_accum of them, in order.
        generator: shuffles the batches within their length buckets.
        on_step: called after every optimizer step.
        checkpoints: where to keep what training depends on, every `run.checkpoint` steps.
        begun: to go on from; on one CPU the result is the same to the last bit as if nothing had happened.
        stop: looked at after every step.
        group: of processes that take each step together; all are given the same examples.

    Raises:
        RunFailure: the loss or the gradient is not finite, or the base model received a gradient or changed.
        Interrupted: a stop was asked for; a checkpoint of the last step was written.
    """
    optimisation = Optimisation(model, run, group)
    trained = {id(p) for p in optimisation.parameters}
    base = {name: p for name, p in model.named_parameters() if id(p) not in trained}
    before = bits_of(base)
    width = run.data.max_length if run.pack else None
    batches = bucketed_batches(examples, run.batch_size, pad_id, generator, width=width)
    behind = int(optimisation.parameters[0].device.type == "cuda")  # a GPU has the next step before one is read
    model.train()
    losses: list[float] = []
    norms: list[float] = []
    tokens, spent = 0, 0.0
    torch.manual_seed(run.seed)  # a base model may have dropout
    if begun is not None:
        losses, norms = list(begun.state["losses"]), list(begun.state["norms"])
        tokens, spent = begun.state["tokens"], begun.state["seconds"]
        begun.restore(optimisation.optimizer)
        for _ in range(len(losses) * run.grad_accum):
            next(batches)
    start = time.perf_counter() - spent
    under_way: deque[tuple[Reading, int]] = deque()
    for step in range(len(losses), run.steps):
        micro_batches = [next(batches) for _ in range(run.grad_accum)]
        seen = sum(int(batch["attention_mask"].sum()) for batch in micro_batches)
        reading = optimisation.step(micro_batches, learning_rate(step, run), None if stop is None else stop.asked)
        under_way.append((reading, seen))
        ends, asked = step + 1 == run.steps, reading.asked
        keeps = checkpoints is not None and (asked is not None or (step + 1) % run.checkpoint == 0) and not ends
        while len(under_way) > (0 if ends or keeps or asked is not None else behind):
            reading, seen = under_way.popleft()
            loss, norm = _finite(reading, len(losses), run)
            losses.append(loss)
            norms.append(norm)
            tokens += seen
            seconds = time.perf_counter() - start
            on_step(Step(len(losses), loss, learning_rate(len(losses) - 1, run), norm, seen, seconds))
        if keeps and checkpoints is not None:
            state = {"step": step + 1, "losses": losses, "norms": norms, "tokens": tokens, "seconds": seconds}
            checkpoints.write(step + 1, model, optimisation.optimizer, state)
        if asked is not None and not ends:
            raise Interrupted(asked, f"at step {step + 1} of {run.steps}")
    seconds = time.perf_counter() - start
    model.eval()
    if any(p.grad is not None or p.requires_grad for p in base.values()):
        raise RunFailure("the base model received a gradient; the adapter did not freeze all of it")
    if bits_of(base) != before:
        raise RunFailure("the base model's weights changed while the adapter was trained")
    last = losses[-max(1, len(losses) // 10) :]
    return Training(losses[0], sum(last) / len(last), sum(norms) / len(norms), tokens, seconds)


def _finite(reading: Reading, step: int, run: RunConfig) -> tuple[float, float]:
    """What a step read, which counts from 0.

    Raises:
        RunFailure: it is not finite.
    """
    loss, norm = reading.read()
    for what, value in (("loss", loss), ("gradient norm", norm)):
        if not math.isfinite(value):
            raise RunFailure(f"the {what} is {value} at step {step + 1} of {run.steps} (lr {run.lr:g})")
    return loss, norm
