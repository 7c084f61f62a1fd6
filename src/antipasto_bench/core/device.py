"""The torch device of a run: which it is, when its work is done, and the most memory that was taken of it."""

from __future__ import annotations

import torch
from torch import nn

from .errors import UserError
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
        if device.type == "cuda":
            if device.index is None:
                device = torch.device("cuda", torch.cuda.current_device())
            torch.cuda.set_device(device)  # synchronise and the memory counters use the current device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: not available here; write device=cpu or device=auto") from error
    return device


def synchronise(model: nn.Module) -> None:
    """Wait for the model's GPU, so that a clock read next has all work behind it."""
    if next(model.parameters()).device.type == "cuda":
        torch.cuda.synchronize()


def peak_bytes(device: torch.device) -> int | None:
    """The most memory so far: allocated on a GPU, or resident in this process; None where it is not told."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resident("VmHWM")  # ru_maxrss would do, were it not handed down from the process that started this one
