"""One run made by several processes together: `torchrun --nproc-per-node 4 -m antipasto_bench run ...`.

Each has a model of its own and takes its share of every batch's rows; gradients are summed, so that all take the step
that one process alone would take, up to the order of a sum. Questions are shared out by lm-eval itself. The first
process alone writes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..core.errors import RunFailure, UserError
from ..core.launcher import launched
from ..core.signals import Interrupted

TIMEOUT = timedelta(days=1)  # a process may have to fetch or compute what another has in a cache

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train and score one run together, and the place of this one among them."""

    index: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def shard(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """This process's rows of a batch: none where there are fewer rows than processes."""
        return batch if self.size == 1 else {key: rows[self.index :: self.size] for key, rows in batch.items()}

    def broadcast(self, value: T) -> T:
        """The value of the first process."""
        if self.size == 1:
            return value
        box = [value]
        with self.interrupted_by_lost_process():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        with self.interrupted_by_lost_process():
            dist.all_gather_object(values, value)
        return cast("list[T]", values)

    def barrier(self) -> None:
        if self.size > 1:
            with self.interrupted_by_lost_process():
                dist.barrier()

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Make some tensors those of the first process, to the last bit; all give them in one order."""
        if self.size == 1:
            return
        with self.interrupted_by_lost_process():
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    @contextmanager
    def interrupted_by_lost_process(self) -> Iterator[None]:
        """Turn the loss of another process into `Interrupted`: the same command goes on from the last checkpoint.

        Raises:
            Interrupted: another process is gone.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error).lower()):
                raise
            raise Interrupted(signal.SIGTERM, "by the loss of another process of the run") from error

    def sum_gradients(
        self, parameters: Sequence[nn.Parameter], loss: Tensor, problem: Exception | None, signum: int | None
    ) -> tuple[Tensor, int | None]:
        """Add up gradients and losses over the processes, and learn of each other's errors and requests to stop.

        Args:
            problem: what kept this process from its gradients.
            signum: of the signal that asked this process to stop, if any did.

        Returns:
            the sum of the losses, and a signal if any process was asked to stop; every gradient is now the sum of the
            processes' gradients.

        Raises:
            Exception: `problem`; if another process failed: RuntimeError here in the first process, RunFailure in the
                rest.
        """
        if self.size == 1:
            if problem is not None:
                raise problem
            return loss, signum
        has = [p.grad is not None and problem is None for p in parameters]
        grads = [
            p.grad if here and p.grad is not None else torch.zeros_like(p)
            for p, here in zip(parameters, has, strict=True)
        ]
        numbers = torch.tensor([*has, float(loss), problem is not None, signum is not None], device=grads[0].device)
        flat = torch.cat([*(grad.flatten().float() for grad in grads), numbers])
        with self.interrupted_by_lost_process():
            dist.all_reduce(flat)
        *summed, counts, total, failed, stopping = flat.split([*(grad.numel() for grad in grads), len(has), 1, 1, 1])
        if failed.item():
            self._raise(problem)
        for parameter, grad, count in zip(parameters, summed, counts.tolist(), strict=True):
            parameter.grad = grad.view_as(parameter).to(parameter.grad_dtype) if count else None
        return total.squeeze(0), (signum or signal.SIGTERM) if stopping.item() else None

    def _raise(self, problem: Exception | None) -> NoReturn:
        reports: list[str | None] = [None] * self.size
        with self.interrupted_by_lost_process():
            dist.all_gather_object(reports, None if problem is None else f"{type(problem).__name__}: {problem}")
        reason = next((f"process {index}: {text}" for index, text in enumerate(reports) if text), "").splitlines()[0]
        if not self.is_first:
            raise RunFailure(reason) from problem
        raise problem or (torch.OutOfMemoryError if "OutOfMemoryError" in reason else RuntimeError)(reason)


ALONE = ProcessGroup()


def join_group() -> ProcessGroup:
    """The group of the processes that were launched together, each on a GPU of its own where there are any.

    Raises:
        UserError: there are fewer GPUs than processes on this machine.
    """
    if not launched():
        return ALONE
    if torch.cuda.is_available():
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= gpus:
            raise UserError(f"this machine shows {gpus} GPUs, and each process takes one: --nproc-per-node {gpus}")
        torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    return ProcessGroup(dist.get_rank(), dist.get_world_size())


def leave_group(group: ProcessGroup) -> None:
    """End the group: what is left to do is done by the first process alone."""
    if group.size > 1:
        dist.destroy_process_group()
