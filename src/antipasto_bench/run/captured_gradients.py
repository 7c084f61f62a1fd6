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

from ..core.errors import UserError, first_line
from ..spec.config import RunConfig
from .completion_loss import CompletionLoss, LossInputs

MOST_GRAPHS = 64  # each takes memory of its own; batches of further shapes are computed plainly
# Of the loss and of the whole gradient, and of a tensor's own: sums by atomic additions have no fixed order.
TOLERANCE, OF_ONE = 1e-3, 2e-2


class Graphs(Protocol):
    """A device's way to record work and to do it again."""

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
        try:
            # Other threads may go on meanwhile, such as the one that keeps a run's claim.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                work()
        except Exception as error:  # that of ending the capture hides what ended it
            first = error.__context__ if isinstance(error.__context__, Exception) else error
            raise CaptureError(first_line(first)) from error
        return graph.replay


class CaptureError(RuntimeError):
    """A graph that cannot be had, or does not give what the step gives; the message says why."""


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
        # Graphs add to memory that stays where it is, here by the place of its parameter. A parameter that is given no
        # gradient has none here either, so that the optimizer leaves it alone.
        self._gradients: dict[int, Tensor] = {}
        self._total = torch.zeros((), dtype=torch.float64, device=parameters[0].device)
        self._shapes: dict[tuple[Any, ...], _Shape] = {}
        self.replayed = 0

    def compute(self, batches: Iterable[tuple[dict[str, Tensor], int]]) -> Tensor:
        """The loss of each batch by its divisor, added up, and its gradient as that of the parameters.

        Returns:
            the sum, on the device, in memory that the next call writes to.

        Raises:
            CaptureError: the model's operations cannot be captured, or a graph gives something else.
            RuntimeError: memory lacks, or what a plain step raises.
        """
        for place, parameter in enumerate(self._parameters):
            parameter.grad = self._gradients.get(place)
        self._clear()
        with self._graphs.working():
            for place, (batch, divisor) in enumerate(batches):
                self._add(batch, divisor, first=place == 0)
        return self._total

    def _clear(self) -> None:
        if self._gradients:
            torch._foreach_zero_([*self._gradients.values()])
        self._total.zero_()

    def _add(self, batch: dict[str, Tensor], divisor: int, first: bool) -> None:
        inputs = self._loss.to_device(self._loss.prepare_in_few_shapes(batch))
        key = (*(tensor.shape for tensor in inputs.inputs.values()), inputs.labels.shape, inputs.count)
        shape = self._shapes.get(key)
        if shape is None:
            shape = _Shape(inputs, torch.full((), float(divisor), device=self._total.device))
            if len(self._shapes) < MOST_GRAPHS:
                self._shapes[key] = shape
            self._compute_plainly(shape)
            self._keep_new_gradients()
            return
        shape.take(inputs, divisor)
        if shape.replay is None:
            shape.replay = self._captured(shape, first)
        shape.replay()
        self.replayed += 1

    def _compute_plainly(self, shape: _Shape) -> None:
        loss = self._loss.compute(shape.inputs) / shape.divisor
        loss.backward()
        self._total += loss.detach()

    def _new_gradients(self) -> list[int]:
        """Places of parameters whose gradient is in memory that no graph knows."""
        given = [place for place, parameter in enumerate(self._parameters) if parameter.grad is not None]
        return [place for place in given if place not in self._gradients]

    def _keep_new_gradients(self) -> None:
        """Keep the memory of gradients that parameters are given for the first time: a copy, which nothing shares."""
        for place in self._new_gradients():
            gradient = self._parameters[place].grad
            assert gradient is not None
            self._gradients[place] = self._parameters[place].grad = gradient.clone()

    def _captured(self, shape: _Shape, first: bool) -> Callable[[], None]:
        """What replays the graph of a shape, which gives the loss and gradients of the batch that is in it now.

        Args:
            first: nothing has been added up yet in this step.
        """
        before = [] if first else [tensor.clone() for tensor in (self._total, *self._gradients.values())]
        self._clear()
        self._compute_plainly(shape)
        self._keep_new_gradients()
        loss, expected = self._total.clone(), [gradient.clone() for gradient in self._gradients.values()]
        replay = self._graphs.capture(lambda: self._compute_plainly(shape))
        if self._new_gradients():
            raise CaptureError("its graph gives gradients to parameters that the plain step gives none")
        self._clear()
        replay()
        self._require_alike(loss, expected)
        self._clear()
        for tensor, value in zip((self._total, *self._gradients.values()), before, strict=False):
            tensor.copy_(value)  # a gradient that is new in this batch was 0 before it
        return replay

    def _require_alike(self, loss: Tensor, expected: Sequence[Tensor]) -> None:
        """Raise CaptureError where loss or gradients are not those of the plain step. NaN is the training loop's."""
        apart = torch.stack([(g - e).float().norm() for g, e in zip(self._gradients.values(), expected, strict=True)])
        norms = torch.stack([e.float().norm() for e in expected])
        errors = {
            "loss": ((self._total - loss) / loss).abs() / TOLERANCE,
            "gradient": apart.norm() / norms.norm() / TOLERANCE,
            "gradient of one tensor": (apart / norms).nan_to_num(0).max() / OF_ONE,  # 0 / 0: both are 0
        }
        for what, error in errors.items():
            if error > 1:
                raise CaptureError(f"the {what} of its graph is not the plain step's: {float(error):.1e} tolerances")


def check_capturing(run: RunConfig, model: Any) -> None:
    """Refuse `cuda_graphs=true` where no step can be captured.

    Raises:
        UserError: the model is not wholly on one GPU, or its code is its own.
    """
    if not run.cuda_graphs:
        return
    devices = {parameter.device for parameter in model.parameters()}
    if any(device.type != "cuda" for device in devices):
        raise UserError(f"cuda_graphs=true needs a GPU, and {run.model} is not wholly on one; leave it out")
    if len(devices) > 1:
        raise UserError(f"cuda_graphs=true: {run.model} is on {len(devices)} GPUs, and a graph is of one; leave it out")
    if run.trust_remote_code:
        raise UserError(
            f"cuda_graphs=true: code of {run.model} itself may replace tensors that a graph reads; leave it out"
        )
