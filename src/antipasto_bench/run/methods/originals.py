"""The base model's own values of tensors that are trained in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Originals:
    """What some tensors held before they were trained; kept on the CPU, so that it takes no memory of a GPU.

    Args:
        kept: each tensor with a copy of its values.
    """

    def __init__(self, kept: Iterable[tuple[Tensor, Tensor]]) -> None:
        self._kept = list(kept)

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> Originals:
        """Of tensors as they are now."""
        return cls((tensor, on_cpu(tensor)) for tensor in tensors)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the tensors hold them for the length of a block, frozen; then what they held before, bit for bit."""
        kept = {id(tensor): values for tensor, values in self._kept}
        trained = [tensor for tensor, _ in self._kept if tensor.requires_grad]
        for tensor in trained:
            tensor.requires_grad_(False)
        try:
            with changed([tensor for tensor, _ in self._kept], lambda tensor: kept[id(tensor)]):
                yield
        finally:
            for tensor in trained:
                tensor.requires_grad_(True)

    @torch.no_grad()
    def restore(self) -> None:
        """Have the tensors hold them for good."""
        for tensor, values in self._kept:
            tensor.copy_(values)


@contextmanager
def changed(tensors: Iterable[Tensor], values: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Have some tensors hold other values for the length of a block; then those that they held before."""
    now = [(tensor, on_cpu(tensor)) for tensor in tensors]
    try:
        with torch.no_grad():
            for tensor, _ in now:
                tensor.copy_(values(tensor))
        yield
    finally:
        with torch.no_grad():
            for tensor, held in now:
                tensor.copy_(held)


def on_cpu(tensor: Tensor) -> Tensor:
    """A copy of a tensor's values in the CPU's memory; on the meta device, which has none, there."""
    return tensor.detach().clone() if tensor.is_meta else tensor.detach().to("cpu", copy=True)
