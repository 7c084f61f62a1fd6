"""Several processes on one machine that share a sweep: one a GPU, or some on a CPU with the cores shared out.

Each is a `sweep` of its own, in a session of its own; the locks on the runs share the work out. One that dies takes
nothing along: another takes its place and goes on from the last checkpoint. A run whose worker died twice is recorded
as failed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .claims import lock_of
from .engine import Order
from .errors import UserError
from .paths import Store
from .plan import plan
from .run import record_death
from .stopping import Interrupted, stoppable
from .sweep import Sweep

DEATHS = 2  # of its workers, after which a run counts as failed
POLL_S = 0.2


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
    cores = max(1, len(os.sched_getaffinity(0)) // count)
    threads = os.environ.get("OMP_NUM_THREADS", str(cores))
    shared = {"OMP_NUM_THREADS": threads}
    return [shared | ({"CUDA_VISIBLE_DEVICES": gpus[i]} if gpus else {}) for i in range(count)]


def share(
    command: list[str],
    count: int,
    asked: Sweep,
    store: Store,
    order: Order,
    environment: dict[str, str],
    say: Callable[[str], None],
) -> list[int]:
    """Run `command` in several processes until the sweep owes nothing more.

    Args:
        environment: of every worker, beside its threads and its GPU.

    Returns:
        the exit codes of those that ended by themselves.

    Raises:
        Interrupted: somebody asked to stop; the workers were asked, too, and have ended.
        UserError: more workers than GPUs.
    """
    seen = [own | environment for own in environments(count)]
    deaths: Counter[str] = Counter()
    codes: list[int] = []
    workers: list[Worker] = []
    try:
        with stoppable():
            workers = [_start(i, command, seen[i], say) for i in range(count)]
            while workers:
                time.sleep(POLL_S)
                for worker in [w for w in workers if w.process.poll() is not None]:
                    workers.remove(worker)
                    worker.reader.join()
                    code = int(worker.process.returncode)
                    if code >= 0:
                        codes.append(code)
                        continue
                    _mourn(worker, -code, deaths, asked, store, say)
                    if order.of(plan(asked, store)):
                        workers.append(_start(worker.number, command, seen[worker.number], say))
    except Interrupted:
        for worker in workers:
            worker.process.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.process.wait()
            worker.reader.join()
        raise
    return codes


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
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            say(f"worker {number}: {line.rstrip()}")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return Worker(number, process, reader)


def _mourn(
    worker: Worker, signum: int, deaths: Counter[str], asked: Sweep, store: Store, say: Callable[[str], None]
) -> None:
    """Find the run that a dead worker was making; record it as failed where it was not the first to die over it."""
    name = signal.Signals(signum).name
    for run in asked.runs:
        run_id = run.run_id
        note = lock_of(run_id, store).with_suffix(".json")
        try:
            mine = f'"pid": {worker.process.pid}' in note.read_text(encoding="utf-8")
        except OSError:
            continue
        if not mine:
            continue
        note.unlink(missing_ok=True)
        deaths[run_id] += 1
        say(f"worker {worker.number} died of {name} while making {run_id}")
        if deaths[run_id] >= DEATHS:
            record_death(run, f"its worker died {DEATHS} times, the last time of {name}", store)
        return
    say(f"worker {worker.number} died of {name}")
