"""Several processes on one machine that share a sweep: one a GPU, or some on a CPU with the cores shared out.

Each is a `sweep` of its own, in a session of its own; the locks on the runs share the work out. One that dies takes
nothing along: another takes its place and goes on from the last checkpoint. A run whose worker died twice is recorded
as failed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from filelock import FileLock, Timeout

from ..core.errors import RunFailure, UserError
from ..core.machine import cores
from ..core.signals import stoppable
from ..run.execute import record_loss
from ..spec.sweep import Sweep
from ..store.folders import Store
from ..store.leases import lock_of, note_on
from .plan import plan
from .scheduler import DEATHS, Order

IDLE_DEATHS = 3  # of one worker before it had begun a run, after which the sweep gives up
POLL_S = 0.05


@dataclass
class Worker:
    number: int
    process: subprocess.Popen[str]
    reader: threading.Thread


def visible_gpus() -> list[str]:
    """Those that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()] if torch.cuda.is_available() else []
    return [str(index) for index in range(torch.cuda.device_count())]


def environments(count: int) -> list[dict[str, str]]:
    """What each worker sees: one GPU of its own, or its share of the cores.

    Raises:
        UserError: more workers than GPUs.
    """
    gpus = visible_gpus()
    if gpus and count > len(gpus):
        raise UserError(f"workers={count}: this machine shows {len(gpus)} GPUs, and each worker takes one")
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // count)))
    shared = {"OMP_NUM_THREADS": threads}
    return [shared | ({"CUDA_VISIBLE_DEVICES": gpus[i]} if gpus else {}) for i in range(count)]


@dataclass(frozen=True)
class Shared:
    """How it went."""

    codes: list[int]  # of the workers that ended by themselves
    failed: int  # runs that were recorded as failed because workers died over them


def share(
    commands: list[list[str]],
    asked: Sweep,
    store: Store,
    order: Order,
    environment: dict[str, str],
    say: Callable[[str], None],
) -> Shared:
    """Run the commands beside each other until the sweep owes nothing more.

    Args:
        commands: one a worker.
        environment: of every worker, beside its threads and its GPU.

    Raises:
        Interrupted: somebody asked to stop; the workers were asked, too, and have ended.
        UserError: more workers than GPUs, or one that dies again and again before it has begun a run.
    """
    seen = [own | environment for own in environments(len(commands))]
    deaths: Counter[str] = Counter()  # by run, or by worker where it had none
    codes: list[int] = []
    workers: list[Worker] = []
    failed = 0
    try:
        with stoppable():
            for number, command in enumerate(commands):
                workers.append(_start(number, command, seen[number], say))
            while workers:
                time.sleep(POLL_S)
                for worker in [w for w in workers if w.process.poll() is not None]:
                    workers.remove(worker)
                    worker.reader.join()
                    number, code = worker.number, int(worker.process.returncode)
                    if code >= 0:
                        codes.append(code)
                        continue
                    failed += _mourn(worker, signal.Signals(-code).name, deaths, asked, store, say)
                    if deaths[f"worker {number}"] >= IDLE_DEATHS:
                        raise UserError(
                            f"worker {number} died {IDLE_DEATHS} times before it had begun a run; see above"
                        )
                    if order.of(plan(asked, store)):
                        workers.append(_start(number, commands[number], seen[number], say))
    finally:
        for worker in workers:
            worker.process.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.process.wait()
            worker.reader.join()
    return Shared(codes, failed)


def _start(number: int, command: list[str], environment: dict[str, str], say: Callable[[str], None]) -> Worker:
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process alone, which asks the workers to stop
        preexec_fn=_end_with_parent,
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(OSError, ValueError):  # nobody listens: the pipe is emptied all the same
                say(f"worker {number}: {line.rstrip()}")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return Worker(number, process, reader)


def _mourn(
    worker: Worker, name: str, deaths: Counter[str], asked: Sweep, store: Store, say: Callable[[str], None]
) -> bool:
    """Find the run that a dead worker was making; record it as failed where others had died over it before."""
    for run in asked.runs:
        run_id = run.run_id
        claim = note_on(run_id, store)
        if claim is None or (claim.pid, claim.host) != (worker.process.pid, socket.gethostname()):
            continue
        deaths[run_id] += 1
        say(f"worker {worker.number} died of {name} while making {run_id}")
        lost = deaths[run_id] >= DEATHS
        with suppress(Timeout), FileLock(lock_of(run_id, store), timeout=0):  # else somebody has taken it up already
            if lost:
                record_loss(run, RunFailure(f"its worker died {DEATHS} times, the last time of {name}"), store)
            lock_of(run_id, store).with_suffix(".json").unlink(missing_ok=True)
        return lost
    deaths[f"worker {worker.number}"] += 1
    say(f"worker {worker.number} died of {name}")
    return False


def _end_with_parent() -> None:
    """Ask the kernel, where it is Linux, to send a worker SIGTERM when the sweep that started it is gone."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
