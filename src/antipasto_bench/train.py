"""Train the adapter's parameters, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from antipasto import bits_of, trainable_parameters

from .checkpoints import Checkpoint, Checkpoints
from .config import RunConfig
from .data import IGNORED, Example, bucketed_batches
from .data_parallel import ALONE, Group
from .errors import RunFailure
from .stopping import Interrupted, Stop


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


def completion_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Sum over the completion's tokens of -log p(token | all before it), in float32."""
    scored = batch["labels"][:, 1:] != IGNORED  # by the position that predicts: (batch, longest - 1)
    # Logits over a large vocabulary are most of the memory: none are made before the first completion begins.
    kept = scored.shape[1] - int(scored.any(0).nonzero()[0])
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    logits = model(**inputs, use_cache=False, logits_to_keep=kept + 1).logits[:, -kept - 1 : -1]
    scored = scored[:, -kept:].to(logits.device)  # the model's last layer may be on another device than its first
    labels = batch["labels"][:, -kept:].to(logits.device)
    return cross_entropy(logits[scored].float(), labels[scored], reduction="sum")


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
    parameters = list(trainable_parameters(model).values())
    trained = {id(p) for p in parameters}
    base = {name: p for name, p in model.named_parameters() if id(p) not in trained}
    before = bits_of(base)
    optimizer = torch.optim.AdamW(parameters, lr=run.lr, weight_decay=run.weight_decay, fused=True)
    batches = bucketed_batches(examples, run.batch_size, pad_id, generator)
    device = next(model.parameters()).device
    model.train()
    losses: list[float] = []
    norms: list[float] = []
    tokens, spent = 0, 0.0
    torch.manual_seed(run.seed)  # a base model may have dropout
    if begun is not None:
        losses, norms = list(begun.state["losses"]), list(begun.state["norms"])
        tokens, spent = begun.state["tokens"], begun.state["seconds"]
        begun.restore(optimizer)
        for _ in range(len(losses) * run.grad_accum):
            next(batches)
    start = time.perf_counter() - spent
    for step in range(len(losses), run.steps):
        micro_batches = [next(batches) for _ in range(run.grad_accum)]
        # Every completion token of the step weighs the same, in whichever micro-batch it stands.
        scored = sum(int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in micro_batches)
        total, problem = 0.0, None
        try:
            for batch in map(group.share, micro_batches):
                if len(batch["labels"]) > 0:
                    loss = completion_loss(model, {k: v.to(device) for k, v in batch.items()}) / scored
                    total += loss.item()
                    loss.backward()
        except RuntimeError as error:  # such as lack of memory: the other processes must not wait for this one
            problem = error
        total, asked = group.sum_gradients(parameters, total, problem, None if stop is None else stop.asked)
        if not math.isfinite(total):
            raise RunFailure(f"the loss is {total} at step {step + 1} of {run.steps} (lr {run.lr:g})")
        norm = float(nn.utils.clip_grad_norm_(parameters, run.max_grad_norm))
        if not math.isfinite(norm):
            raise RunFailure(f"the gradient norm is {norm} at step {step + 1} of {run.steps} (lr {run.lr:g})")
        for settings in optimizer.param_groups:
            settings["lr"] = learning_rate(step, run)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen = sum(int(batch["attention_mask"].sum()) for batch in micro_batches)
        tokens += seen
        losses.append(total)
        norms.append(norm)
        seconds = time.perf_counter() - start
        on_step(Step(step + 1, total, learning_rate(step, run), norm, seen, seconds))
        if checkpoints is not None and (asked is not None or (step + 1) % run.checkpoint == 0) and step + 1 < run.steps:
            state = {"step": step + 1, "losses": losses, "norms": norms, "tokens": tokens, "seconds": seconds}
            checkpoints.write(step + 1, model, optimizer, state)
        if asked is not None and step + 1 < run.steps:
            raise Interrupted(asked, f"at step {step + 1} of {run.steps}")
    seconds = time.perf_counter() - start
    model.eval()
    if any(p.grad is not None or p.requires_grad for p in base.values()):
        raise RunFailure("the base model received a gradient; the adapter did not freeze all of it")
    if bits_of(base) != before:
        raise RunFailure("the base model's weights changed while the adapter was trained")
    last = losses[-max(1, len(losses) // 10) :]
    return Training(losses[0], sum(last) / len(last), sum(norms) / len(norms), tokens, seconds)
