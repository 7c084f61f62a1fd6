"""What the library needs of a target layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Layer(Protocol):
    """An nn.Linear, or a module that acts like one, such as a quantised layer; with its variant's `lora_*` tensors.

    An attribute that is not declared here, such as `layer.lora_A`, is one of those tensors.
    """

    in_features: int
    out_features: int
    weight: Tensor
    bias: Tensor | None  # a layer may lack the attribute: read it by `bias_of`

    def __getattr__(self, name: str) -> Tensor: ...

    # As nn.Module has them:
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_parameters(self, *, recurse: bool) -> Iterator[tuple[str, nn.Parameter]]: ...
    def named_buffers(self, *, recurse: bool) -> Iterator[tuple[str, Tensor]]: ...
    def register_parameter(self, name: str, param: nn.Parameter | None) -> None: ...
    def register_buffer(self, name: str, tensor: Tensor | None) -> None: ...
    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = ..., with_kwargs: bool = ...
    ) -> RemovableHandle: ...
    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = ..., with_kwargs: bool = ...
    ) -> RemovableHandle: ...


def bias_of(layer: Layer) -> Tensor | None:
    """A target's bias, if it has one."""
    bias: Tensor | None = getattr(layer, "bias", None)
    return bias


def lora_parameters(layer: Layer) -> dict[str, nn.Parameter]:
    """The trained tensors that an adapter put on a layer, by name."""
    return {name: p for name, p in layer.named_parameters(recurse=False) if name.startswith("lora_")}


def lora_tensors(layer: Layer) -> dict[str, Tensor]:
    """All tensors that an adapter put on a layer, detached: the trained ones, then the frozen ones."""
    trained = {name: p.detach() for name, p in lora_parameters(layer).items()}
    frozen = {name: b.detach() for name, b in layer.named_buffers(recurse=False) if name.startswith("lora_")}
    return trained | frozen
