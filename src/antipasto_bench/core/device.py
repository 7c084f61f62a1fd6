"""The torch device of a run: which it is, when its work is done, and the most memory that was taken of it."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .errors import UserError, out_of_memory
from .machine import resident

WORKERS_ON_GPU = "ANTIPASTO_WORKERS_ON_GPU"  # environment variable of a worker
SHARED_PART = 0.9  # of a shared GPU's memory: each process takes about half a GiB of it before its first tensor


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


def workers_on_gpu() -> int:
    """How many processes share this one's GPU, by the environment of a worker; 1 elsewhere."""
    return int(os.environ.get(WORKERS_ON_GPU, "1"))


def keep_to_share_of_gpu() -> None:
    """Bound what this process may allocate on the current GPU where others share it, each by as much.

    torch keeps what it has allocated, so that without a bound the first to need much would leave nothing to the others,
    which then fail; at its bound, a process itself goes on with fewer rows at once.
    """
    if workers_on_gpu() > 1:
        torch.cuda.set_per_process_memory_fraction(SHARED_PART / workers_on_gpu())


def free_on_gpu(device: torch.device) -> int:
    """Bytes of a GPU that this process may still take, once what it has freed is given back."""
    gc.collect()  # what training left
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    if workers_on_gpu() == 1:
        return int(free)
    return int(min(free, max(0, SHARED_PART / workers_on_gpu() * total - torch.cuda.memory_reserved(device))))


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
