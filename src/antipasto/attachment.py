"""What `attach` did to a model, and which weights its layers hold meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batched import BatchedTargets
from .config import AdapterConfig, AdapterError
from .layer import Layer, bias_of
from .variant import Factors, InputVariant, Variant, compute_dtype

STATE = "_antipasto"


class Weights(NamedTuple):
    """The tensors of a plain linear layer."""

    weight: Tensor
    bias: Tensor | None


@dataclass
class Attachment:
    """An adapter on a model: its targets, its hooks, and the base tensors that others have replaced."""

    cfg: AdapterConfig
    variant: Variant[Any]
    targets: dict[str, Layer]
    required_grad: list[nn.Parameter]  # the base parameters that were trainable before
    handles: list[Any] = field(default_factory=list)
    enabled: bool = True
    original_weights: dict[str, Weights] = field(default_factory=dict)  # of the base, where a residual replaces them
    extracted_factors: dict[str, Factors] = field(default_factory=dict)  # the base's weight minus that residual
    unmerged: dict[str, Weights] = field(default_factory=dict)  # what each layer held before it was merged
    initial_checksums: dict[str, int] = field(default_factory=dict)  # of the trained tensors right after attach
    batched_targets: BatchedTargets | None = None

    @property
    def merged(self) -> bool:
        return bool(self.unmerged)

    def require_enabled(self, what: str) -> None:
        """Raise AdapterError inside `disabled`, which exchanges the layers' weights again when it ends."""
        if not self.enabled:
            raise AdapterError(f"{what} inside disabled(model) would be undone when it ends; leave it first")

    def put(self, name: str, new: Weights) -> Weights:
        """Give a target other tensors, on its device and in its dtype, and return those that it had."""
        layer = self.targets[name]
        bias = bias_of(layer)
        old = Weights(layer.weight.data, None if bias is None else bias.data)
        layer.weight.data = new.weight.to(old.weight)
        if new.bias is not None and bias is not None:
            bias.data = new.bias.to(bias)
        return old

    def hook(self, model: nn.Module) -> None:
        """Hook the targets, so that each computes its adapted output whenever it is called.

        Hooks registered by others, earlier or later, run after these: they see the adapted layer's input and output.
        """
        self.batched_targets = BatchedTargets(self.targets.values())
        self.handles.append(model.register_forward_pre_hook(self._begin))
        for layer in self.targets.values():
            if isinstance(self.variant, InputVariant):
                self.handles.append(layer.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True))
            else:
                self.handles.append(layer.register_forward_hook(self._after, with_kwargs=True, prepend=True))

    def unhook(self) -> None:
        """Remove the hooks: the targets are plain layers again, and calling one costs nothing more."""
        for handle in self.handles:
            handle.remove()
        self.handles = []
        if self.batched_targets is not None:
            self.batched_targets.release()

    def _begin(self, model: nn.Module, args: Any) -> None:
        if self.batched_targets is not None and not torch.compiler.is_compiling():
            self.batched_targets.clear()

    def _before(self, layer: Layer, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> Any:
        if not self.enabled:
            return None
        assert isinstance(self.variant, InputVariant)
        x = input_of(args, kwargs).to(next(layer.parameters()).device)
        with without_float16(x.device):
            adapted = self.variant.adapt_input(layer, self.cfg, x.to(compute_dtype(x.dtype))).to(x.dtype)
        if args:
            return (adapted, *args[1:]), kwargs
        return args, kwargs | {next(iter(kwargs)): adapted}

    def _after(self, layer: Layer, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], y: Tensor) -> Tensor:
        if not self.enabled:
            return y
        x = input_of(args, kwargs).to(y.device)  # accelerate moves x to the layer's device inside the layer's call only
        if y.dtype != torch.float16:
            return self.variant.forward(layer, self.cfg, x, y)
        with without_float16(y.device):
            return self.variant.forward(layer, self.cfg, x.float(), y.float()).to(y.dtype)


@contextmanager
def without_float16(device: torch.device) -> Iterator[None]:
    """No autocast to float16 for the length of a `with` block: `compute_dtype` says why."""
    kind = device.type
    if kind != "meta" and torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16:
        with torch.autocast(kind, enabled=False):
            yield
    else:
        yield


def input_of(args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> Tensor:
    """The input of a linear layer's call, positional or under any keyword."""
    return args[0] if args else next(iter(kwargs.values()))


def attachment(model: nn.Module) -> Attachment:
    """The adapter on a model.

    Raises:
        AdapterError: there is none.
    """
    state: Attachment | None = getattr(model, STATE, None)
    if state is None:
        raise AdapterError("no adapter is attached to this model; call attach(model, config) first")
    return state
