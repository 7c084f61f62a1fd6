"""The torch device of a run: which it is, when its work is done, and the most memory that was taken of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .errors import UserError, out_of_memory
from .machine import resident


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is CUDA where there is one, else the CPU, and `cuda` is the current GPU.

    Raises:
        UserError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        if device.type == "meta":
            raise RuntimeError("it has shapes and no memory")
        if device.type == "cuda":
            if device.index is None:
                device = torch.device("cuda", torch.cuda.current_device())
            torch.cuda.set_device(device)  # synchronise and the memory counters use the current device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: not available here; write device=cpu or device=auto") from error
    return device


def synchronise(model: nn.Module) -> None:
    """Wait for the model's GPU, or all of those that it lies on, so that a clock read next has all work behind it."""
    first = next(model.parameters()).device
    if first.type == "cuda":
        spread = getattr(model, "hf_device_map", {}).values()  # by accelerate, under device_map=auto
        gpus = {torch.device("cuda", place) for place in spread if isinstance(place, int)}
        for device in gpus or {first}:
            torch.cuda.synchronize(device)


def device_is_dead(name: str, every: bool = False) -> bool:
    """Whether the device of a name (see `pick_device`) fails at everything until the process ends.

    A GPU is left so by an illegal access of memory, or an assertion in a kernel.

    Args:
        every: whether any GPU counts: a model was laid out over all of them.
    """
    if name == "cpu" or not torch.cuda.is_available():
        return False
    try:
        device = torch.device("cuda" if name == "auto" else name)
        if device.type != "cuda":
            return False
        indices = range(torch.cuda.device_count()) if every else (device.index,)
        for index in indices:
            torch.ones(1, device=torch.device("cuda", index)).add_(1)
            torch.cuda.synchronize(index)
    except RuntimeError as error:
        return not out_of_memory(error)
    return False


@contextmanager
def pinned_threads(threads: int | None) -> Iterator[None]:
    """Have torch compute with so many threads on the CPU for the length of a block; as before where None.

    How a sum is divided among threads decides how it is rounded.
    """
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)


def peak_bytes(device: torch.device) -> int | None:
    """The most memory so far: allocated on a GPU, or resident in this process; None where it is not told."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resident("VmHWM")  # ru_maxrss would do, were it not handed down from the process that started this one
