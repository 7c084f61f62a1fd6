"""Make one run on a node of a Ray cluster, and report its progress and its outcome to the driver.

What crosses the network is text, numbers and bytes; configs and records cross as JSON.
"""

from __future__ import annotations

import json
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
from ..core.quiet import silence_libraries
from ..core.signals import Interrupted, handle_signals
from ..run.context import RunContext
from ..run.execute import Outcome, execute
from ..run.model_cache import ModelCache
from ..run.progress import Progress
from ..run.train import Step
from ..run.workspace import versions
from ..spec.config import RunConfig
from ..store.folders import Store
from ..store.run_folder import RunFolder
from .scheduler import DEAD_DEVICE

RELEASE_S = 120.0  # in which a process whose node was lost must have ended
REPORT_S = 2.0  # between two reports of a run's progress

_models = ModelCache()  # of this worker process, to which Ray gives one run after another


@dataclass(frozen=True)
class RunTask:
    """A run for a node to make."""

    run_id: str  # by the driver's data, models and task files
    config: str  # JSON of the RunConfig
    outputs: str  # the driver's folder
    token: str  # a file in the driver's outputs/: a node that finds it shares that folder
    scratch: str | None  # folder to make runs in, instead of outputs/
    threads: int
    versions: dict[str, str]  # of the driver's code and packages


@dataclass(frozen=True)
class TaskResult:
    """What came of a task. A run that was stopped by a signal has no record, no refusal and no mismatch."""

    node: str  # host name
    node_id: str  # Ray's
    record: str | None = None  # JSON of the RunRecord
    files: dict[str, bytes] | None = None  # of the run's folder, by name, where the driver does not share it
    refused: str | None = None  # why this run cannot be made as it was ordered
    mismatch: str | None = None  # why this node can make no run of this driver
    device_is_dead: bool = False  # for the process that tried; nothing of the run is reported then


@dataclass(frozen=True)
class NodeProgress:
    """How far a node is with a run."""

    node: str  # host name
    step: int | None  # None before the first


class ProgressBoard:
    """An actor on the driver's node that keeps the last progress of each run."""

    def __init__(self) -> None:
        self._progress: dict[str, NodeProgress] = {}

    def report(self, run_id: str, node: str, step: int | None) -> None:
        self._progress[run_id] = NodeProgress(node, step)

    def progress(self) -> dict[str, NodeProgress]:
        """Last progress by run id."""
        return self._progress


def execute_task(task: RunTask, board: Any) -> TaskResult:
    """Ray's task: make the run on this node.

    Args:
        board: the handle of the ProgressBoard.
    """
    silence_libraries()
    result = execute_on_node(task, lambda node, step: board.report.remote(task.run_id, node, step))
    if result.device_is_dead:
        os._exit(DEAD_DEVICE)  # Ray starts another process: the driver has it make this run again, once
    return result


def execute_on_node(task: RunTask, report: Callable[[str, int | None], None]) -> TaskResult:
    """Make a run on this node, in the driver's outputs/ or in a folder of the node's own.

    Args:
        report: given the node's name and the last step, now and then.
    """
    import ray

    node = socket.gethostname()
    result = partial(TaskResult, node, ray.get_runtime_context().get_node_id())
    here = versions()
    if here != task.versions:
        different = ", ".join(name for name in here if here[name] != task.versions.get(name))
        return result(mismatch=f"it has other versions than this machine ({different}); install the same there")
    torch.set_num_threads(task.threads)
    warnings.simplefilter("ignore")  # nobody reads them there
    run = RunConfig.model_validate(json.loads(task.config))
    if run.run_id != task.run_id:
        return result(mismatch="its data, models or task files are not those of this machine; copy them there")
    shares_outputs = task.scratch is None and Path(task.token).exists()
    outputs = Path(task.outputs) if shares_outputs else _own_folder(task.scratch)
    with tempfile.TemporaryDirectory() as results, handle_signals() as stop:
        store = Store(Path(results), outputs, outputs / ".locks" / "nodes")
        progress = _ReportingProgress(lambda step: report(node, step))
        context = RunContext(store, progress=progress, stop=stop, models=_models)
        try:
            outcome = _execute_when_free(run, context)
        except Interrupted:
            return result()
        except UserError as error:
            return result(refused=str(error))
        if outcome.device_is_dead:
            return result(device_is_dead=True)
        if outcome.record is None:
            return result()
        files = None
        if not shares_outputs and outcome.status == "ok":
            files = _take_files(store.run_folder(run.run_id))
        return result(record=json.dumps(outcome.record.to_json()), files=files)


class _ReportingProgress(Progress):
    """Reports a run's steps to the driver and prints nothing."""

    def __init__(self, report: Callable[[int | None], None]) -> None:
        super().__init__(quiet=True)
        self._report = report

    def phase(self, name: str) -> None:
        if name == "load":
            self._report(None)

    @contextmanager
    def training(self, steps: int) -> Iterator[Callable[[Step], None]]:
        reported_at = 0.0

        def after_step(step: Step) -> None:
            nonlocal reported_at
            if time.monotonic() - reported_at > REPORT_S or step.step == steps:
                reported_at = time.monotonic()
                self._report(step.step)

        yield after_step


def _own_folder(scratch: str | None) -> Path:
    import ray

    base = Path(scratch) if scratch else Path(tempfile.gettempdir()) / f"antipasto-bench-{os.getuid()}"
    return base / ray.get_runtime_context().get_node_id()


def _take_files(folder: RunFolder) -> dict[str, bytes]:
    """The content of a run's folder, which is removed."""
    files = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    for path in folder.path.iterdir():
        path.unlink()
    folder.path.rmdir()
    return files


def _execute_when_free(run: RunConfig, context: RunContext) -> Outcome:
    """Wait until a process that lost its cluster has ended and released the run's lock.

    Raises:
        UserError: it still holds the lock after RELEASE_S.
    """
    deadline = time.monotonic() + RELEASE_S
    while (outcome := execute(run, context)).status == "running":
        if time.monotonic() > deadline:
            raise UserError(f"{outcome.run_id}: another process still makes it")
        time.sleep(1)
    return outcome
