"""Runs that were stopped in training and in scoring, and what a next try reads of them, for random faults."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from faults import Parts, Reader, Subject
from safetensors.torch import load_file
from small_runs import StopAfter, make

from antipasto_bench.core.signals import Interrupted
from antipasto_bench.run.answer_log import AnswerLog
from antipasto_bench.run.checkpoints import TENSORS
from antipasto_bench.run.training_log import cut_log, leave_out_damaged_steps
from antipasto_bench.run.workspace import Workspace
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.store.folders import Store
from antipasto_bench.store.leases import HeldLease
from antipasto_bench.sweeps.status import status_lines


def stop_in_training(run: RunConfig, store: Store) -> None:
    try:
        make(run, store, stop=StopAfter(7))
    except Interrupted:
        return
    raise AssertionError("not stopped")


def stop_in_scoring(run: RunConfig, store: Store) -> None:
    add, answered = AnswerLog.add_partial, 0

    def interrupting(log: AnswerLog, *given: object) -> None:
        nonlocal answered
        add(log, *given)  # type: ignore[arg-type]
        answered += 1
        if answered == 20:
            raise Interrupted(signal.SIGINT)

    with mock.patch.object(AnswerLog, "add_partial", interrupting):
        try:
            make(run, store)
        except Interrupted:
            return
    raise AssertionError("not stopped")


def workspaces(store: Store, training: RunConfig, scoring: RunConfig) -> Iterator[Subject]:
    folder = store.workspace(training.run_id)

    def checkpoint() -> Parts:
        latest = Workspace(folder, training).checkpoints.latest()
        if latest is None:
            return {}
        tensors = digests(load_file(latest.folder / TENSORS)) | digests(load_file(latest.adapter))
        return {"all": json.dumps([latest.state, tensors], sort_keys=True)}

    def log() -> Parts:
        workspace = Workspace(folder, training)
        latest = workspace.checkpoints.latest()
        cut_log(folder.log, {} if latest is None else latest.state)
        return _lines_of(folder.log)

    with _restored(store):
        resumed = Reader("go on training", _restoring(store, checkpoint))
        logged = Reader("go on with the log", _restoring(store, log), may_lack=True)
    for path in sorted(folder.checkpoints.rglob("*.*")):
        if path.is_file():
            yield Subject(path, "checkpoint", [resumed], (path.parent.name,))
    yield Subject(folder.log, "workspace", [logged], (training.run_id,))
    begun = Reader("go on with work of the same code", _restoring(store, checkpoint), may_lack=True)
    yield Subject(folder.versions, "workspace", [begun], (training.run_id,))
    scored = store.workspace(scoring.run_id)

    def trained() -> Parts:
        adapter = Workspace(scored, scoring).trained()
        return {} if adapter is None else {"trained": adapter.model_dump_json(exclude_unset=True)}

    def answers(split: str) -> Parts:
        workspace = Workspace(scored, scoring)
        if workspace.trained() is None:
            return {}
        log = workspace.answers(split, merged=merged)
        return dict(log._answers) | {"unfinished": log.unfinished, "open": log.open, "batch size": log.batch_size}

    first = next(scored.answer_logs()).read_text(encoding="utf-8").splitlines()[0]
    merged = "merged" in first

    def log_of_trained() -> Parts:
        leave_out_damaged_steps(scored.log, scoring.steps)
        return _lines_of(scored.log)

    taken = Reader("go on with what was trained", _restoring(store, trained), may_lack=True)
    curve = Reader("go on with the log of what was trained", _restoring(store, log_of_trained))
    yield Subject(scored.log, "workspace", [curve], (scoring.run_id,))
    for path in (scored.training, scored.adapter):
        yield Subject(path, "workspace", [taken], (scoring.run_id,))
    for path in scored.answer_logs():
        split = path.stem.removeprefix("answers-")
        read = _restoring(store, partial(answers, split))
        # Behind a line that gives up a size of batches, the answers of the lines before it count no more.
        answered = Reader("go on scoring", read, may_lack=True, earlier=_of_each_prefix(path, read))
        yield Subject(path, "answers", [answered], (scoring.run_id,))
    HeldLease(scoring.run_id, store).write()

    def status() -> Parts:
        return {line.split()[0]: True for line in status_lines(store)[1:] if line.startswith("nano")}

    yield Subject(store.lease(scoring.run_id), "lease", [Reader("status", status, may_lack=True)], (scoring.run_id,))


def _of_each_prefix(log: Path, read: Callable[[], Parts]) -> list[Parts]:
    """What is read of a log that ends behind each of its lines."""
    content = log.read_bytes()
    lines = content.splitlines(keepends=True)
    states = []
    try:
        for count in range(1, len(lines)):
            log.write_bytes(b"".join(lines[:count]))
            states.append(read())
    finally:
        log.write_bytes(content)
    return states


def _lines_of(log: Path) -> Parts:
    lines = log.read_text(encoding="utf-8").splitlines()
    return {str(json.loads(line)["step"]): line for line in lines}


@contextmanager
def _restored(store: Store) -> Iterator[None]:
    """Leaves the workspaces as they were: a reader drops what it cannot use."""
    place = store.outputs / ".workspaces"
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    try:
        yield
    finally:
        for path in [path for path in place.rglob("*") if path.is_file() and path not in before]:
            path.unlink()
        for path, content in before.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)


def _restoring(store: Store, read: Callable[[], Parts]) -> Callable[[], Parts]:
    def reading() -> Parts:
        with _restored(store):
            return read()

    return reading


def digests(tensors: Mapping[str, torch.Tensor]) -> dict[str, object]:
    return {name: hashlib.sha256(t.detach().contiguous().numpy().tobytes()).hexdigest() for name, t in tensors.items()}
