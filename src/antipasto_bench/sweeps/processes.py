"""Worker processes of one machine that share work: one or some for each GPU, or several that divide a CPU's cores.

Each is a command of its own, `sweep` or `tune`, in a session of its own; the locks on the runs divide the work. When
one dies the others go on, and another takes its place, which continues the run from its last checkpoint. A run over
which two workers died is given up: a sweep records it as failed. A worker ends by itself where an error has left its
GPU unusable for its process: another takes its place, too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import torch

from ..core.child_processes import end_with_parent, module_environment
from ..core.device import WORKERS_ON_GPU
from ..core.errors import RunFailure, UserError
from ..core.locks import HeldElsewhere, locked
from ..core.machine import cores
from ..core.process_identity import started_at
from ..core.signals import handle_signals
from ..run.failures import record_dead_run
from ..spec.config import RunConfig
from ..spec.sweep import Sweep
from ..store.folders import Store
from ..store.leases import Lease, noted_lease
from .engine import Engine
from .plan import plan
from .scheduler import DEAD_DEVICE, MOST_DEATHS, Order, PrintLine

MOST_IDLE_DEATHS = 3  # of one worker before it had begun a run, after which the sweep gives up
MOST_DEAD_DEVICES = 3  # of one worker, after which it is not replaced: the GPU itself may be broken
POLL_S = 0.05

WorkerLine = Callable[[int, str], None]  # given the number of a worker, and a line that it printed


class Work(Protocol):
    """What workers share."""

    @property
    def store(self) -> Store:
        """Where it is made and recorded."""

    def run_ids(self) -> Iterable[str]:
        """Of all that a worker may have in hand."""

    def give_up(self, run_id: str, reason: str) -> None:
        """See to it that no worker takes a run on again; called under the run's lock."""

    def is_owed(self) -> bool:
        """Whether a worker that is started now finds something to make."""


@dataclass(frozen=True)
class SweepWork:
    """The runs of a sweep."""

    sweep: Sweep
    store: Store
    order: Order

    def run_ids(self) -> list[str]:
        return [run.run_id for run in self.sweep.runs]

    def give_up(self, run_id: str, reason: str) -> None:
        run = next(run for run in self.sweep.runs if run.run_id == run_id)
        record_dead_run(run, RunFailure(reason), self.store)

    def is_owed(self) -> bool:
        return bool(self.order.select(plan(self.sweep, self.store), self.store))


@dataclass
class Worker:
    number: int
    process: subprocess.Popen[str]
    reader: threading.Thread
    started: float | None = None  # seconds from the boot to its start


@dataclass(frozen=True)
class WorkersEnded:
    """How the workers ended."""

    exit_codes: list[int]  # of the workers that were not killed
    failed: int  # runs that were given up because workers died over them

    @property
    def exit_code(self) -> int:
        """Exit code of the work: the highest of all."""
        return max([*self.exit_codes, 1 if self.failed else 0])


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()] if torch.cuda.is_available() else []
    return [str(index) for index in range(torch.cuda.device_count())]


def worker_count(runs: Iterable[RunConfig], engine: Engine, most: int | None = None) -> int:
    """Worker processes on this machine: as many as wanted, else those of each visible GPU.

    Args:
        runs: that they make.
        most: that have something to do.

    Raises:
        UserError: several workers are to share a GPU, and there is none, or a model takes all of them.
    """
    uses_all_gpus = any(run.device_map == "auto" for run in runs)
    gpus, per_gpu = len(visible_gpus()), engine.workers_per_gpu
    if per_gpu > 1 and not gpus:
        raise UserError(f"workers_per_gpu={per_gpu}: this machine shows no GPU; workers=N divides its cores")
    if per_gpu > 1 and uses_all_gpus:
        raise UserError(f"workers_per_gpu={per_gpu}: device_map=auto gives one run all GPUs; leave out one of them")
    count = engine.workers or (1 if uses_all_gpus else max(1, gpus * per_gpu))
    return count if most is None else min(count, most)


def worker_environments(count: int, per_gpu: int = 1) -> list[dict[str, str]]:
    """The environment variables that give each worker its GPU or its share of one, and its share of the cores.

    Args:
        count: of workers.
        per_gpu: workers that share a GPU.

    Raises:
        UserError: more workers than GPUs hold.
    """
    gpus = visible_gpus()
    if gpus and count > len(gpus) * per_gpu:
        shown = f"this machine shows {len(gpus)} GPU{'s' * (len(gpus) != 1)}"
        takes = "each worker takes one" if per_gpu == 1 else f"{per_gpu} workers share one"
        raise UserError(f"workers={count}: {shown}, and {takes}; workers_per_gpu=N lets N workers share a GPU")
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // count)))
    shared = {"OMP_NUM_THREADS": threads} | ({WORKERS_ON_GPU: str(per_gpu)} if gpus and per_gpu > 1 else {})
    return [shared | ({"CUDA_VISIBLE_DEVICES": gpus[i // per_gpu]} if gpus else {}) for i in range(count)]


def run_workers(
    commands: list[list[str]],
    work: Work,
    environment: dict[str, str],
    print_line: PrintLine,
    worker_line: WorkerLine,
    per_gpu: int = 1,
) -> WorkersEnded:
    """Run the commands at the same time until nothing more is owed.

    Args:
        commands: one for each worker.
        environment: of every worker, beside its threads and its GPU.
        per_gpu: workers that share a GPU.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the workers were sent SIGTERM and have ended.
        UserError: more workers than GPUs, or one that dies again and again before it has begun a run.
    """
    environments = [own | environment for own in worker_environments(len(commands), per_gpu)]
    deaths: Counter[str] = Counter()  # by run id, or by worker where it had no run
    exit_codes: list[int] = []
    workers: list[Worker] = []
    failed = 0
    try:
        with handle_signals():
            for number, command in enumerate(commands):
                workers.append(_start(number, command, environments[number], worker_line))
            while workers:
                time.sleep(POLL_S)
                for worker in [w for w in workers if w.process.poll() is not None]:
                    workers.remove(worker)
                    worker.reader.join()
                    number, code = worker.number, int(worker.process.returncode)
                    if code >= 0:
                        exit_codes.append(1 if code == DEAD_DEVICE else code)
                        if code != DEAD_DEVICE or not replace_after_dead_device(number, deaths, print_line):
                            continue
                    else:
                        name = signal.Signals(-code).name
                        failed += handle_worker_death(worker, name, deaths, work, print_line)
                    if deaths[f"worker {number}"] >= MOST_IDLE_DEATHS:
                        raise UserError(
                            f"worker {number} died {MOST_IDLE_DEATHS} times before it had begun a run; see above"
                        )
                    if work.is_owed():
                        workers.append(_start(number, commands[number], environments[number], worker_line))
    finally:
        for worker in workers:
            worker.process.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.process.wait()
            worker.reader.join()
    return WorkersEnded(exit_codes, failed)


def replace_after_dead_device(number: int, deaths: Counter[str], print_line: PrintLine) -> bool:
    """Count that a worker left because its GPU failed at everything, and say whether another takes its place."""
    key = f"GPU of worker {number}"
    deaths[key] += 1
    replaced = deaths[key] < MOST_DEAD_DEVICES
    then = "a new process takes its place" if replaced else f"for the {MOST_DEAD_DEVICES}rd time: it is not replaced"
    print_line(f"worker {number} has ended: its GPU was in an error state; {then}")
    return replaced


def handle_worker_death(
    worker: Worker, signal_name: str, deaths: Counter[str], work: Work, print_line: PrintLine
) -> bool:
    """Count the death over the run that the dead worker was making, and remove its lease.

    Returns:
        whether workers have died over that run so often that it was given up.
    """
    store = work.store
    lease = _lease_of_dead(worker, work)
    if lease is None:
        deaths[f"worker {worker.number}"] += 1
        print_line(f"worker {worker.number} died of {signal_name}")
        return False
    run_id = lease.run_id
    deaths[run_id] += 1
    print_line(f"worker {worker.number} died of {signal_name} while making {run_id}")
    given_up = False
    with suppress(HeldElsewhere), locked(store.lock(run_id), wait=False):  # else another process makes it already
        if deaths[run_id] >= MOST_DEATHS:
            work.give_up(run_id, f"its worker died {MOST_DEATHS} times, the last time of {signal_name}")
            given_up = True
        if given_up or not lease.holder.died:  # else it is kept for those that died over the run before
            store.lease(run_id).unlink(missing_ok=True)
    return given_up


def _lease_of_dead(worker: Worker, work: Work) -> Lease | None:
    """The lease of the run that a dead worker was making, which another may have taken on since."""
    process = worker.process.pid, worker.started
    leases = [lease for run_id in work.run_ids() if (lease := noted_lease(run_id, work.store)) is not None]
    held = (lease for lease in leases if lease.holder.is_of(*process))
    return next(held, None) or next((lease for lease in leases if lease.holder.died_over(*process)), None)


def _start(number: int, command: list[str], environment: dict[str, str], worker_line: WorkerLine) -> Worker:
    process = subprocess.Popen(
        command,
        env=module_environment() | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process alone, which sends SIGTERM to the workers
        preexec_fn=end_with_parent,
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(OSError, ValueError):  # where our own output is closed, the pipe is emptied all the same
                worker_line(number, line.rstrip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return Worker(number, process, reader, started_at(process.pid))
