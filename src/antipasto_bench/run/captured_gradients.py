"""Forward and backward of a training step as CUDA graphs, one for each shape of a batch.

A small model's step is thousands of kernels of a few microseconds each, and a GPU waits for the host that launches them
one by one. A graph launches all of them at once, and computes the same operations on the same memory. Batches are
padded so that they have few shapes (`CompletionLoss.prepare_in_few_shapes`). The first batch of a shape is computed
plainly, which also sets up what kernels need; with the second its graph is captured, and used if it gives that batch's
loss and gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..core.errors import UserError
from ..spec.config import RunConfig
from .completion_loss import CompletionLoss, LossInputs

MOST_GRAPHS = 64  # each takes memory of its own; batches of further shapes are computed plainly
TOLERANCE = 1e-3  # of the loss, and of the gradients' norms: sums by atomic additions have no fixed order


class Graphs(Protocol):
    """What captures graphs."""

    def working(self) -> AbstractContextManager[Any]:
        """Work behind all that was queued before the `with` block, and before all that is queued after it."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` launches, without computing it; gives what computes it, as often as it is called."""


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The one that all graphs of a GPU are captured on: libraries keep memory of their own for each."""
    return torch.cuda.Stream(device)


class CudaGraphs:
    """Graphs of one GPU. They share their memory, since one is replayed at a time."""

    def __init__(self, device: torch.device) -> None:
        # Plain steps are on it too: a backward pass works on the stream of its forward pass.
        self._stream = _stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def working(self) -> Iterator[None]:
        before = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(before)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            before.wait_stream(self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        # Other threads go on meanwhile: one may write a checkpoint.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return graph.replay


class CaptureError(RuntimeError):
    """A graph that does not give what the step gives; the message says how far off it is."""


@dataclass
class _Shape:
    """The tensors that batches of one shape are copied into, and what replays their graph once there is one."""

    inputs: LossInputs
    divisor: Tensor
    replay: Callable[[], None] | None = None

    def take(self, batch: LossInputs, divisor: int) -> None:
        for name, tensor in batch.inputs.items():
            self.inputs.inputs[name].copy_(tensor)
        self.inputs.positions.copy_(batch.positions)
        self.inputs.labels.copy_(batch.labels)
        self.divisor.fill_(divisor)


class CapturedGradients:
    """The gradients of a step, by a graph where there is one of a batch's shape.

    Attributes:
        replayed: batches that a graph computed.
    """

    def __init__(self, loss: CompletionLoss, parameters: Sequence[nn.Parameter], graphs: Graphs) -> None:
        self._loss, self._parameters, self._graphs = loss, parameters, graphs
        # Graphs add to memory that stays where it is.
        self._gradients = [torch.zeros_like(parameter) for parameter in parameters]
        self._total = torch.zeros((), dtype=torch.float64, device=parameters[0].device)
        self._shapes: dict[tuple[Any, ...], _Shape] = {}
        self.replayed = 0

    def compute(self, batches: Iterable[tuple[dict[str, Tensor], int]]) -> Tensor:
        """The loss of each batch by its divisor, added up, and its gradient as that of the parameters.

        Returns:
            the sum, on the device, in memory that the next call writes to.

        Raises:
            RuntimeError: the model's operations cannot be captured, memory lacks, or a graph gives something else.
        """
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        self._clear()
        with self._graphs.working():
            for batch, divisor in batches:
                self._add(batch, divisor)
        return self._total

    def _clear(self) -> None:
        torch._foreach_zero_([*self._gradients])
        self._total.zero_()

    def _add(self, batch: dict[str, Tensor], divisor: int) -> None:
        inputs = self._loss.to_device(self._loss.prepare_in_few_shapes(batch))
        key = (*(tensor.shape for tensor in inputs.inputs.values()), inputs.labels.shape, inputs.count)
        shape = self._shapes.get(key)
        if shape is None:
            shape = _Shape(inputs, torch.full((), float(divisor), device=self._total.device))
            if len(self._shapes) < MOST_GRAPHS:
                self._shapes[key] = shape
            self._compute_plainly(shape)
            return
        shape.take(inputs, divisor)
        if shape.replay is None:
            shape.replay = self._captured(shape)
        shape.replay()
        self.replayed += 1

    def _compute_plainly(self, shape: _Shape) -> None:
        loss = self._loss.compute(shape.inputs) / shape.divisor
        loss.backward()
        self._total += loss.detach()

    def _captured(self, shape: _Shape) -> Callable[[], None]:
        """What replays the graph of a shape, which gives the loss and gradients of the batch that is in it now."""
        kept = [self._total.clone(), *(gradient.clone() for gradient in self._gradients)]
        self._clear()
        self._compute_plainly(shape)
        loss, norms = self._total.clone(), self._norms()
        replay = self._graphs.capture(lambda: self._compute_plainly(shape))
        self._clear()
        replay()
        errors = {
            "loss": (self._total - loss).abs() / loss.abs(),
            "gradient": (self._norms() - norms).norm() / norms.norm(),
        }
        for what, error in errors.items():
            if error > TOLERANCE:  # not where it is NaN: that is for the training loop to say
                raise CaptureError(f"its graph is off by {float(error):.1e} of the step's {what}")
        for tensor, value in zip((self._total, *self._gradients), kept, strict=True):
            tensor.copy_(value)
        return replay

    def _norms(self) -> Tensor:
        """Of each gradient, (parameters,)."""
        return torch.stack(torch._foreach_norm([gradient.float() for gradient in self._gradients]))


def check_capturing(run: RunConfig, model: Any) -> None:
    """Refuse `cuda_graphs=true` where there is no GPU, or the model is on several.

    Raises:
        UserError: so it is.
    """
    if not run.cuda_graphs:
        return
    devices = {parameter.device for parameter in model.parameters()}
    if any(device.type != "cuda" for device in devices):
        raise UserError(f"cuda_graphs=true needs a GPU, and {run.model} is on none; leave it out")
    if len(devices) > 1:
        raise UserError(f"cuda_graphs=true: {run.model} is on {len(devices)} GPUs, and a graph is of one; leave it out")
