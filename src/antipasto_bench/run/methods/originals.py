"""The base model's own values of parameters that are trained in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Originals:
    """What some parameters held before they were trained; kept on the CPU, so that it takes no memory of a GPU."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._kept = [(parameter, on_cpu(parameter)) for parameter in parameters]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the parameters hold them for the length of a block, frozen; then what they held before, bit for bit."""
        kept = {id(parameter): values for parameter, values in self._kept}
        frozen = [parameter for parameter, _ in self._kept if parameter.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            with changed([parameter for parameter, _ in self._kept], lambda p: kept[id(p)]):
                yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)

    @torch.no_grad()
    def restore(self) -> None:
        """Have the parameters hold them for good."""
        for parameter, values in self._kept:
            parameter.copy_(values)


@contextmanager
def changed(parameters: Iterable[nn.Parameter], values: Callable[[nn.Parameter], Tensor]) -> Iterator[None]:
    """Have some parameters hold other values for the length of a block; then those that they held before."""
    now = [(parameter, on_cpu(parameter)) for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter, _ in now:
                parameter.copy_(values(parameter))
        yield
    finally:
        with torch.no_grad():
            for parameter, held in now:
                parameter.copy_(held)


def on_cpu(tensor: Tensor) -> Tensor:
    """A copy of a tensor's values in the CPU's memory."""
    return tensor.detach().to("cpu", copy=True)
