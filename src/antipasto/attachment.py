"""What `attach` did to a model, and which weights stand in its layers meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .config import AdapterConfig, AdapterError
from .together import Together
from .variant import Factors, InputVariant, Layer, Variant, bias_of

STATE = "_antipasto"


class Weights(NamedTuple):
    """The tensors of a plain linear layer."""

    weight: Tensor
    bias: Tensor | None


@dataclass
class Attachment:
    """An adapter on a model: its targets, its hooks, and the base tensors that others stand in for."""

    cfg: AdapterConfig
    variant: Variant
    targets: dict[str, Layer]
    required_grad: list[nn.Parameter]  # the base parameters that were trainable before
    handles: list[Any] = field(default_factory=list)
    enabled: bool = True
    displaced: dict[str, Weights] = field(default_factory=dict)  # of the base, while a residual stands in for it
    taken_out: dict[str, Factors] = field(default_factory=dict)  # what that residual lacks
    unmerged: dict[str, Weights] = field(default_factory=dict)  # what stood in each layer before it was merged
    untrained: dict[str, int] = field(default_factory=dict)  # bits of the trained tensors right after attach
    together: Together | None = None  # what all targets compute at once

    @property
    def merged(self) -> bool:
        return bool(self.unmerged)

    def require_enabled(self, what: str) -> None:
        """Raise AdapterError inside `disabled`: what stands in the layers there is put back when it ends."""
        if not self.enabled:
            raise AdapterError(f"{what} inside disabled(model) would be undone when it ends; leave it first")

    def put(self, name: str, new: Weights) -> Weights:
        """Swap a target's tensors, and return those that stood there. The model may have moved in between."""
        layer = self.targets[name]
        bias = bias_of(layer)
        old = Weights(layer.weight.data, None if bias is None else bias.data)
        layer.weight.data = new.weight.to(old.weight)
        if new.bias is not None and bias is not None:
            bias.data = new.bias.to(bias)
        return old

    def hook(self, model: nn.Module) -> None:
        """Compute the adapted output whenever a target is called: together, and anew whenever the model is.

        Hooks that others registered, before or after, come behind: they see what the adapted layer is given and gives.
        """
        self.together = Together(self.targets.values())
        self.handles.append(model.register_forward_pre_hook(self._begin))
        for layer in self.targets.values():
            if isinstance(self.variant, InputVariant):
                self.handles.append(layer.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True))
            else:
                self.handles.append(layer.register_forward_hook(self._after, with_kwargs=True, prepend=True))

    def unhook(self) -> None:
        """Leave the targets plain layers, to which a call costs nothing more."""
        for handle in self.handles:
            handle.remove()
        self.handles = []
        if self.together is not None:
            self.together.dissolve()

    def _begin(self, model: nn.Module, args: Any) -> None:
        if self.together is not None and not torch.compiler.is_compiling():
            self.together.forget()

    def _before(self, layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> Any:
        if not self.enabled:
            return None
        assert isinstance(self.variant, InputVariant)
        changed = self.variant.adapt_input(layer, self.cfg, input_of(args, kwargs).to(next(layer.parameters()).device))
        if args:
            return (changed, *args[1:]), kwargs
        return args, kwargs | {next(iter(kwargs)): changed}

    def _after(self, layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], y: Tensor) -> Tensor:
        if not self.enabled:
            return y
        x = input_of(args, kwargs).to(y.device)  # accelerate moves it within the call alone
        return self.variant.forward(layer, self.cfg, x, y)


def input_of(args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> Tensor:
    """What a linear layer was called with, under whatever name."""
    return args[0] if args else next(iter(kwargs.values()))


def attachment(model: nn.Module) -> Attachment:
    """The adapter on a model.

    Raises:
        AdapterError: there is none.
    """
    state = getattr(model, STATE, None)
    if state is None:
        raise AdapterError("no adapter is attached to this model; call attach(model, config) first")
    return state
