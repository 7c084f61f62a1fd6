"""What a variant computes from its small tensors, in one batch for all targets.

A rotation's blocks take about forty operations on a few hundred numbers. Done for each target by itself, their cost is
the overhead of the calls; done once on the tensors of all targets, that overhead is paid once.

The results are reused while none of the tensors that they were computed from has changed, until the model is called
again or a backward pass has gone through them. That backward pass does not free their graph, so a second one may
follow: two losses one after the other, or a checkpointed block that is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from .compat import version_of
from .layer import Layer

BATCHED_TARGETS = "_antipasto_batched_targets"  # the attribute of a layer that holds its adapter's BatchedTargets


class BatchedTargets:
    """The targets of one adapter, and the latest result of each."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = list(layers)
        self.results: dict[Layer, tuple[tuple[Any, ...], Tensor]] = {}  # state of the inputs, result
        for layer in self.layers:
            layer.__dict__[BATCHED_TARGETS] = self

    def clear(self) -> None:
        """Drop the results, so that the next call computes them again."""
        self.results = {}

    def release(self) -> None:
        """Let every layer compute by itself from now on."""
        for layer in self.layers:
            layer.__dict__.pop(BATCHED_TARGETS, None)

    def __getstate__(self) -> dict[str, Any]:
        return {"layers": self.layers, "results": {}}  # a copy of the model computes its own

    def result(
        self, layer: Layer, names: tuple[str, ...], compute: Callable[..., Tensor], dtype: torch.dtype
    ) -> Tensor:
        """The result for one layer; where it is missing or stale, those of all layers on its device are computed."""
        state = _input_state([getattr(layer, name) for name in names], dtype)
        if layer not in self.results or self.results[layer][0] != state:
            self._compute(getattr(layer, names[0]).device, names, compute, dtype)
        return self.results[layer][1]

    def _compute(
        self, device: torch.device, names: tuple[str, ...], compute: Callable[..., Tensor], dtype: torch.dtype
    ) -> None:
        inputs = {layer: [getattr(layer, name) for name in names] for layer in self.layers}
        inputs = {layer: tensors for layer, tensors in inputs.items() if tensors[0].device == device}
        batch = [torch.cat(tensors) for tensors in zip(*inputs.values(), strict=True)]
        apply: Callable[..., Tensor] = _RetainedGraph.apply
        rows = [len(tensors[0]) for tensors in inputs.values()]
        results = torch.split(apply(self.clear, compute, *batch).to(dtype), rows)
        self.results |= {
            layer: (_input_state(inputs[layer], dtype), result) for layer, result in zip(inputs, results, strict=True)
        }


def batched(layer: Layer, names: tuple[str, ...], compute: Callable[..., Tensor], dtype: torch.dtype) -> Tensor:
    """`compute(*tensors)` of a layer's own tensors, computed in one batch with that of all targets of its adapter.

    Args:
        names: the layer's tensors that `compute` is given.
        compute: works row by row: its result has one row for each row of the first tensor. Given the tensors of several
            layers concatenated along their rows, it returns their results concatenated in the same order.
        dtype: of the result; it is computed in the dtype of the tensors.
    """
    targets: BatchedTargets | None = layer.__dict__.get(BATCHED_TARGETS)
    if targets is None or torch.compiler.is_compiling():  # a compiler fuses small operations by itself
        return compute(*(getattr(layer, name) for name in names)).to(dtype)
    return targets.result(layer, names, compute, dtype)


@contextmanager
def computed_alone(layer: Layer) -> Iterator[None]:
    """Let a layer compute by itself, from its tensors as they are now, for the length of a `with` block."""
    targets = layer.__dict__.pop(BATCHED_TARGETS, None)
    try:
        yield
    finally:
        if targets is not None:
            layer.__dict__[BATCHED_TARGETS] = targets


def _input_state(tensors: list[Tensor], dtype: torch.dtype) -> tuple[Any, ...]:
    """Equal to an earlier state where the result computed then is still the right one.

    While a CUDA graph is captured nothing is computed: a result then is none to any other call.
    """
    device = tensors[0].device
    captured = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    mode = device, dtype, torch.is_grad_enabled(), torch.is_inference_mode_enabled(), captured
    return (*mode, *((tensor.data_ptr(), version_of(tensor), tensor.requires_grad) for tensor in tensors))


def _detached(tensor: Tensor) -> Tensor:
    """A saved tensor without its graph: one that a node saves of its own output would keep that node alive for good."""
    return tensor.detach()


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


class _RetainedGraph(torch.autograd.Function):
    """`compute(*inputs)`, with a graph of its own that a backward pass does not free."""

    @staticmethod
    def forward(ctx: Any, clear: Callable[[], None], compute: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        ctx.clear = clear
        # The hooks of a caller, such as torch.utils.checkpoint, must not see what this graph saves for backward.
        with torch.enable_grad(), saved_tensors_hooks(_detached, _unchanged):
            ctx.inputs = [
                t.detach().requires_grad_(need) for t, need in zip(inputs, ctx.needs_input_grad[2:], strict=True)
            ]
            ctx.result = compute(*ctx.inputs)
        result: Tensor = ctx.result.detach()
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.clear()
        trained = [tensor for tensor in ctx.inputs if tensor.requires_grad]
        grads = iter(torch.autograd.grad(ctx.result, trained, grad, retain_graph=True))
        return None, None, *(next(grads) if tensor.requires_grad else None for tensor in ctx.inputs)
