"""What a node of a cluster does with a run that it is handed, and how it tells of it."""

from __future__ import annotations

import os
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..core.errors import UserError
from ..core.signals import Interrupted, stoppable
from ..run.execute import Outcome, execute
from ..run.model_cache import Bases
from ..run.progress import Progress
from ..run.train import Step
from ..run.workspace import versions
from ..spec.config import RunConfig
from ..store.folders import Store

GONE_S = 120.0  # in which a process whose node was lost must have ended
TELL_S = 2.0  # between two reports of a run's progress

_bases = Bases()  # of this worker process: Ray gives it one run after another


@dataclass(frozen=True)
class Job:
    """What a node is told."""

    run: dict[str, Any]
    outputs: str  # the driver's
    shared: str  # a file in there, which a node that sees the folder finds
    scratch: str | None  # where to make runs instead
    threads: int
    versions: dict[str, str]  # of the driver's code and packages
    run_id: str  # as the driver's data, models and tasks make it


@dataclass(frozen=True)
class Made:
    """What a node has to say for itself; with nothing but its name: it was asked to stop."""

    node: str
    node_id: str
    row: dict[str, Any] | None = None
    files: dict[str, bytes] | None = None  # of the run's folder, where the driver does not see it
    refused: str | None = None
    unfit: str | None = None  # why this node can make no run of this driver's


class _Report(Progress):
    """Tells the driver how far a run is."""

    def __init__(self, tell: Callable[[int | None], None]) -> None:
        super().__init__(quiet=True)
        self.tell = tell

    def phase(self, name: str) -> None:
        if name == "load":
            self.tell(None)

    @contextmanager
    def training(self, steps: int) -> Iterator[Callable[[Step], None]]:
        last = 0.0

        def report(step: Step) -> None:
            nonlocal last
            if time.monotonic() - last > TELL_S or step.step == steps:
                last = time.monotonic()
                self.tell(step.step)

        yield report


def make_there(job: Job, tell: Callable[[str, int | None], None]) -> Made:
    """Make a run on this node, in the driver's outputs/ or in a folder of its own.

    Args:
        tell: given the node's name and the last step.
    """
    import ray

    node = socket.gethostname()
    made = partial(Made, node, ray.get_runtime_context().get_node_id())
    ours = versions()
    if ours != job.versions:
        other = ", ".join(name for name in ours if ours[name] != job.versions.get(name))
        return made(unfit=f"it has other versions than this machine ({other}); install the same there")
    torch.set_num_threads(job.threads)
    warnings.simplefilter("ignore")  # nobody reads them there
    run = RunConfig.model_validate(job.run)
    if run.run_id != job.run_id:
        return made(unfit="its data, models or task files are not those of this machine; copy them there")
    sees = job.scratch is None and Path(job.shared).exists()
    outputs = Path(job.outputs) if sees else _own_folder(job.scratch)
    with tempfile.TemporaryDirectory() as results, stoppable() as stop:
        store = Store(Path(results), outputs, outputs / ".locks" / "nodes")
        report = _Report(lambda step: tell(node, step))
        try:
            outcome = _patiently(lambda: execute(run, store, report, stop=stop, bases=_bases))
        except Interrupted:
            return made()
        except UserError as error:
            return made(refused=str(error))
        folder = store.run_dir(run.run_id)
        files = None
        if not sees and outcome.status == "ok":
            files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        return made(row=outcome.row, files=files)


def _own_folder(scratch: str | None) -> Path:
    import ray

    place = Path(scratch) if scratch else Path(tempfile.gettempdir()) / f"antipasto-bench-{os.getuid()}"
    return place / ray.get_runtime_context().get_node_id()


def _patiently(make: Callable[[], Outcome]) -> Outcome:
    """Wait for a process that has lost its cluster, and ends because of that, to let go of the run."""
    deadline = time.monotonic() + GONE_S
    while (outcome := make()).status == "running":
        if time.monotonic() > deadline:
            raise UserError(f"{outcome.run_id}: another process still makes it")
        time.sleep(1)
    return outcome


class Board:
    """An actor beside the driver, to which the nodes say how far they are."""

    def __init__(self) -> None:
        self.notes: dict[str, dict[str, Any]] = {}

    def note(self, run_id: str, node: str, step: int | None) -> None:
        self.notes[run_id] = {"node": node, "step": step}

    def told(self) -> dict[str, dict[str, Any]]:
        return self.notes


def task(job: Job, board: Any) -> Made:
    from ..core.quiet import quieten

    quieten()
    return make_there(job, lambda node, step: board.note.remote(job.run_id, node, step))
