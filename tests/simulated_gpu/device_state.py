"""What a simulated GPU holds and has done: memory, operations, waits of the host, and copies that are not done yet."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from dataclasses import dataclass
from types import FrameType

import torch
from torch import Tensor

PROJECT = "/src/antipasto"  # a part of the path of this project's modules


@dataclass(eq=False)
class CopyToHost:
    target: Tensor  # pinned
    values: Tensor  # of the device, when the copy was begun

    def finish(self) -> None:
        with torch.no_grad():
            torch.Tensor.copy_(self.target, self.values)


@dataclass(eq=False)
class CopyFromHost:
    source: Tensor  # pinned
    version: int  # of the source, when the copy was begun

    def finish(self) -> None:
        assert self.source._version == self.version, "pinned memory was written while the device still read it"


Copy = CopyToHost | CopyFromHost


class DeviceState:
    """The state of the one device that there is.

    Attributes:
        launches: by operation, how often it was launched on the device.
        waits: by kind, how often the host waited for the device.
        wait_places: the same by kind and the line of this project that waited.
        allocated: bytes of the device's memory that tensors hold.
        peak: the most bytes that were allocated at once.
        limit: bytes that can be allocated; None where nothing limits them.
        sticky_error: what every operation fails with, as after an illegal access of memory; None while all is well.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self, limit: int | None = None) -> None:
        """Become a device that nothing was done on; what is allocated then is not counted."""
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.wait_places: Counter[str] = Counter()
        self.allocated = self.peak = 0
        self.limit = limit
        self.sticky_error: str | None = None
        self.pending: list[Copy] = []  # non-blocking copies that nobody waited for, in order
        self._references: Counter[int] = Counter()  # by storage, the tensors that share it
        self._sizes: dict[int, int] = {}

    def forget_waits(self) -> None:
        self.waits.clear()
        self.wait_places.clear()

    def wait(self, kind: str) -> None:
        """Count a wait of the host for all that the device was told to do; every copy is done after it."""
        self.count_wait(kind)
        self.finish(self.pending)

    def count_wait(self, kind: str) -> None:
        self.waits[kind] += 1
        self.wait_places[f"{kind} at {_line_of_project()}"] += 1

    def finish(self, copies: list[Copy]) -> None:
        """Finish those of the copies that are not done yet.

        Raises:
            AssertionError: pinned memory was written while a copy still read it.
        """
        for copy in list(copies):
            if copy in self.pending:
                self.pending.remove(copy)
                copy.finish()

    def allocate(self, tensor: Tensor) -> int:
        """Count a tensor's storage, once for all tensors that share it, and return its key.

        Raises:
            OutOfMemoryError: the limit does not allow it.
        """
        storage = tensor.untyped_storage()
        key = int(storage._cdata)
        if key not in self._sizes:
            size = storage.nbytes()
            if self.limit is not None and self.allocated + size > self.limit:
                gc.collect()
            if self.limit is not None and self.allocated + size > self.limit:
                taken = f"{self.allocated} of {self.limit} bytes are taken"
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes; {taken}")
            self._sizes[key] = size
            self.allocated += size
            self.peak = max(self.peak, self.allocated)
        self._references[key] += 1
        return key

    def free(self, key: int) -> None:
        """Count one tensor of a storage less."""
        self._references[key] -= 1
        if self._references[key] <= 0:
            self.allocated -= self._sizes.pop(key, 0)
            del self._references[key]


def _line_of_project() -> str:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if PROJECT in path:
            return f"{path.rpartition('/src/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return "no line of this project"


STATE = DeviceState()
