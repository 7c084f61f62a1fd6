"""A GPU for tests on machines that have none: `with gpu() as device:` torch has a device `cuda`.

Its tensors have a memory of their own and are computed by the CPU's kernels, so that a result can be compared with the
CPU's to the last bit. It is built on torch 2.13's Python backend for PrivateUse1, which needs no compiler.

What it simulates:

- A tensor of the host and one of the device do not meet in one operation, but where CUDA lets them: numbers without
  dimensions in pointwise operations, indices, copies.
- A non-blocking copy to pinned memory holds NaN until an event recorded after it, or the device, is waited for.
- Pinned memory that a non-blocking copy reads must not be written before the device is waited for.
- Memory is counted by storage and can be limited: more raises OutOfMemoryError.
- Waits of the host and operations launched are counted, by kind and by line of this project (`DeviceState`).
- After an error that is sticky (`device.sticky_error = "CUDA error: ..."`), every operation fails.

What it does not:

- Time, streams that overlap, CUDA's own kernels and their rounding, its random numbers, fused attention.
- Several devices, NCCL, Triton, CUDA graphs (and so transformers' continuous batching), torch.compile, bitsandbytes,
  vLLM.
- Fragmentation, and what kernels allocate for themselves.
- Lack of memory inside a backward pass: it ends the process, since torch's autograd threads expect no Python error.

All that looks up torch's functions by name at import (transformers, lm-eval) must be imported before the block begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from device_names import FACTORIES, CudaNames, in_every_thread
from device_state import STATE, DeviceState
from torch import nn
from torch_cuda import cuda_functions

_apply: Callable[..., nn.Module] = nn.Module._apply
_moves: list[dict[int, tuple[nn.Parameter, nn.Parameter]]] = []  # of the modules that are being moved, by old parameter


@contextmanager
def gpu(
    total: int = 80 * 2**30, limit: int | None = None, name: str = "NVIDIA H200 (simulated)"
) -> Iterator[DeviceState]:
    """A GPU, for the length of a `with` block.

    Args:
        total: bytes of memory that it says it has.
        limit: bytes that can be allocated.
        name: as `torch.cuda.get_device_name` gives it.

    Yields:
        what the device holds and has done.
    """
    STATE.reset(limit)
    with ExitStack() as stack:
        for key, value in cuda_functions(total, name).items():
            stack.enter_context(patch.object(torch.cuda, key, value))
        for key in FACTORIES:
            stack.enter_context(patch.object(torch, key, in_every_thread(getattr(torch, key))))
        stack.enter_context(patch.object(nn.Module, "_apply", _apply_to_tied))
        stack.enter_context(CudaNames())
        yield STATE


def _apply_to_tied(self: nn.Module, fn: Callable[..., Any], recurse: bool = True) -> nn.Module:
    """As Module._apply, but a parameter that two modules share stays shared.

    On a real GPU a parameter moves and stays the same object. One that becomes a tensor of another class is a new one.
    """
    _moves.append(_moves[0] if _moves else {})
    try:
        before = dict(self._parameters)
        _apply(self, fn, recurse)
        for key, old in before.items():
            new = self._parameters[key]
            if old is not None and new is not None and new is not old:
                self._parameters[key] = _moves[0].setdefault(id(old), (old, new))[1]
        return self
    finally:
        _moves.pop()
