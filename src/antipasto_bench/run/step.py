"""One optimizer step: the gradient of the loss of some batches, clipped, and AdamW over the adapter's parameters.

Nothing here waits for the device, but for the capture of a graph: a step's metrics are read later.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import first_line, out_of_memory
from ..spec.config import RunConfig
from .captured_gradients import CapturedGradients, CudaGraphs, Graphs
from .completion_loss import CompletionLoss
from .examples import IGNORED
from .methods.registry import require_adapter
from .process_group import ALONE, ProcessGroup


class StepMetrics:
    """The loss and the gradient norm of a step, copied from the device while it works on."""

    def __init__(self, loss: Tensor, norm: Tensor, signum: int | None) -> None:
        self.signum = signum  # the signal by which any process was asked to stop
        values = torch.stack((loss, norm.to(loss)))
        self._copied: Any = None
        if values.device.type == "cuda":
            self._values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            # The values may be on another GPU than the current one, whose stream would be done too early.
            self._copied.record(torch.cuda.current_stream(values.device))
        else:
            self._values = values

    def read(self) -> tuple[float, float]:
        """Loss and norm, once that step is done; no later one is waited for."""
        if self._copied is not None:
            self._copied.synchronize()
        loss, norm = self._values.tolist()
        return loss, norm


class AdapterOptimizer:
    """The adapter's parameters, and AdamW over all of them: at one learning rate, or B at `lr_ratio` times that of A.

    The latter is LoRA+ (Hayou et al., 2402.12354).

    Attributes:
        rows_at_once: of a micro-batch, in one forward and backward pass, since memory did not hold more; None while
            it holds whole micro-batches.
        taken: steps so far; set by who goes on from a checkpoint.
    """

    def __init__(
        self, model: nn.Module, run: RunConfig, group: ProcessGroup = ALONE, graphs: Graphs | None = None
    ) -> None:
        """
        Args:
            model: with an adapter attached.
            group: of processes that take each step together.
            graphs: that capture gradients; by default those of the model's GPU, where the run wants them.
        """
        self._adapter = require_adapter(model)
        self.optimizer = self._adapter.optimizer(run)
        self.parameters = list(self._adapter.trainable_parameters().values())
        self._rate_ratios = [group["lr"] / run.lr for group in self.optimizer.param_groups]
        self._means = run.loss_mean
        self._loss = CompletionLoss(model, run.compile)
        self._max_norm = run.max_grad_norm
        self._group = group
        if graphs is None and run.cuda_graphs and run.method.steps_alike:
            graphs = CudaGraphs(self.parameters[0].device)
        self._captured = None if graphs is None else CapturedGradients(self._loss, self.parameters, graphs)
        self.rows_at_once: int | None = None
        self.taken = 0

    def step(self, micro_batches: Sequence[dict[str, Tensor]], lr: float, signum: int | None = None) -> StepMetrics:
        """Step along the gradient of the mean loss of some batches, clipped.

        By `loss_mean` it is the mean over all labelled tokens, or the mean of the batches' own means.

        A step that memory does not hold is computed again in halves of its micro-batches, down to single rows; this
        one and all later steps are then computed so. Loss and gradient are the same up to the order of their sums.

        Args:
            lr: of this step; a group's is its `lr_ratio` times that.
            signum: of the signal that asked this process to stop, if any did.
        """
        scored = [int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in micro_batches]
        # By tokens each weighs the same, in whichever micro-batch it stands.
        by_tokens, count = self._means == "tokens", len(micro_batches)
        divisors = [sum(scored) if by_tokens else labelled * count for labelled in scored]
        shards = [self._group.shard(batch) for batch in micro_batches]
        # No other process has to take smaller pieces because this one does: the gradients are summed after it.
        while (computed := self._compute_gradients(shards, divisors)) is None:
            self.optimizer.zero_grad(set_to_none=True)
            gc.collect()  # of the graph, whose nodes refer to each other
            if torch.cuda.is_available():
                with suppress(RuntimeError):  # of a device that failed, which the plain step finds too
                    torch.cuda.empty_cache()
        total, problem = computed
        total, signum = self._group.sum_gradients(self.parameters, total, problem, signum)
        norm = nn.utils.clip_grad_norm_(self.parameters, self._max_norm)
        for settings, ratio in zip(self.optimizer.param_groups, self._rate_ratios, strict=True):
            settings["lr"] = lr * ratio
        self.optimizer.step()
        self.taken += 1
        self._adapter.after_step(self.taken)
        self.optimizer.zero_grad(set_to_none=True)
        return StepMetrics(total, norm, signum)

    def _with_penalty(self, loss: Tensor) -> Tensor:
        """A step's loss with the adapter's own penalty, which is no part of the loss that is logged."""
        penalty = self._adapter.penalty()
        return loss if penalty is None else loss + penalty.to(loss) / self._group.size

    def _compute_gradients(
        self, micro_batches: Sequence[dict[str, Tensor]], divisors: Sequence[int]
    ) -> tuple[Tensor, Exception | None] | None:
        """Add the gradient of the mean loss to the parameters: each batch's sum by its divisor, added up.

        Returns:
            the mean loss, and the error that ended the computation, if any did; None where it is to be done again:
            without graphs, or with the smaller `rows_at_once` that was set since memory lacked.
        """
        pieces = [
            (piece, divisor)
            for batch, divisor in zip(micro_batches, divisors, strict=True)
            for piece in _pieces(batch, self.rows_at_once)
        ]
        if self._captured is not None:
            try:
                return self._captured.compute(pieces), None
            except Exception as error:  # one that is not the graphs' is raised again by the plain step
                self._captured = None
                reason = first_line(error)
                warnings.warn(f"cuda_graphs: going on without, and the same step: {reason}", stacklevel=3)
                return None
        device, rows = self.parameters[0].device, 0
        total = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        try:
            penalised = False
            for piece, divisor in pieces:
                rows = len(piece["labels"])
                loss = self._loss(piece) / divisor
                total += loss.detach().to(device)
                if not penalised:  # behind a forward pass, of whose results a penalty can be
                    loss, penalised = self._with_penalty(loss), True
                loss.backward()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or rows <= 1:
                return total, error  # the other processes must not wait for this one
        else:
            return total, None
        self.rows_at_once = rows // 2
        warnings.warn(
            f"out of memory in training {rows} rows at once; going on with {self.rows_at_once}, and the same step",
            stacklevel=3,
        )
        return None


def _pieces(batch: dict[str, Tensor], rows: int | None) -> Iterator[dict[str, Tensor]]:
    """A batch in pieces of so many rows, in one where None; nothing of a batch without rows."""
    total = len(batch["labels"])
    for start in range(0, total, rows or max(1, total)):
        yield {name: values[start : start + (rows or total)] for name, values in batch.items()}
