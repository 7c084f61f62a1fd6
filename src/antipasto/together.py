"""What a variant computes from its small tensors, for all targets at once.

A rotation's blocks are some forty operations on a few hundred numbers. Target by target, what they cost is the calling
of each; as one batch over all targets they cost what they cost once.

The batch is kept until the next call of the model or the next backward pass through it, and used as long as no tensor
that it was made of has changed. A backward pass frees nothing of it, so that any number of them may go
through it: two losses one after the other, or a block that is checkpointed and computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from .variant import Layer

TOGETHER = "_antipasto_together"


class Together:
    """The targets of one adapter, and what was last computed for all of them."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = list(layers)
        self.kept: dict[Layer, tuple[tuple[Any, ...], Tensor]] = {}
        for layer in self.layers:
            layer.__dict__[TOGETHER] = self

    def forget(self) -> None:
        self.kept = {}

    def dissolve(self) -> None:
        for layer in self.layers:
            layer.__dict__.pop(TOGETHER, None)

    def __getstate__(self) -> dict[str, Any]:
        return {"layers": self.layers, "kept": {}}  # a copy of the model computes its own

    def of(self, layer: Layer, names: tuple[str, ...], compute: Callable[..., Tensor], dtype: torch.dtype) -> Tensor:
        stamp = _stamp([getattr(layer, name) for name in names], dtype)
        found = self.kept.get(layer)
        if found is None or found[0] != stamp:
            self._compute(stamp[0], names, compute, dtype)
            found = self.kept[layer]
        return found[1]

    def _compute(
        self, device: torch.device, names: tuple[str, ...], compute: Callable[..., Tensor], dtype: torch.dtype
    ) -> None:
        tensors = {layer: [getattr(layer, name) for name in names] for layer in self.layers}
        here = {layer: own for layer, own in tensors.items() if own[0].device == device}
        batch = [torch.cat(of_all) for of_all in zip(*here.values(), strict=True)]
        found = _Lasting.apply(self.forget, compute, *batch).to(dtype)
        each = found.split([len(own[0]) for own in here.values()])
        self.kept |= {layer: (_stamp(here[layer], dtype), part) for layer, part in zip(here, each, strict=True)}


def together(layer: Layer, names: tuple[str, ...], compute: Callable[..., Tensor], dtype: torch.dtype) -> Tensor:
    """`compute(*tensors)` of a layer's own tensors, found along with that of all other targets of its adapter.

    Args:
        names: the layer's tensors that `compute` is given.
        compute: works row by row: its result has a row for each row of the first tensor, and on the tensors of several
            layers, one below the other, it gives their results, one below the other.
        dtype: of the result; it is computed in that of the tensors.
    """
    all_targets: Together | None = layer.__dict__.get(TOGETHER)
    if all_targets is None or torch.compiler.is_compiling():  # a compiler fuses what is small by itself
        return compute(*(getattr(layer, name) for name in names)).to(dtype)
    return all_targets.of(layer, names, compute, dtype)


@contextmanager
def apart(layer: Layer) -> Iterator[None]:
    """Let a layer compute by itself, from its tensors as they are now, for the length of a `with` block."""
    all_targets = layer.__dict__.pop(TOGETHER, None)
    try:
        yield
    finally:
        if all_targets is not None:
            layer.__dict__[TOGETHER] = all_targets


def _stamp(tensors: list[Tensor], dtype: torch.dtype) -> tuple[Any, ...]:
    """Equal where a result that was kept is still the right one."""
    state = tensors[0].device, dtype, torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return (*state, *((tensor.data_ptr(), tensor._version, tensor.requires_grad) for tensor in tensors))


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


class _Lasting(torch.autograd.Function):
    """`compute(*inputs)`, with a graph of its own that a backward pass does not free."""

    @staticmethod
    def forward(ctx: Any, forget: Callable[[], None], compute: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        ctx.forget = forget
        # Whatever wants to see what is saved for backward, such as a checkpoint that this is called in: not of this.
        with torch.enable_grad(), saved_tensors_hooks(_as_it_is, _as_it_is):
            ctx.inputs = [
                t.detach().requires_grad_(need) for t, need in zip(inputs, ctx.needs_input_grad[2:], strict=True)
            ]
            ctx.found = compute(*ctx.inputs)
        return ctx.found.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.forget()
        trained = [tensor for tensor in ctx.inputs if tensor.requires_grad]
        grads = iter(torch.autograd.grad(ctx.found, trained, grad, retain_graph=True))
        return None, None, *(next(grads) if tensor.requires_grad else None for tensor in ctx.inputs)
