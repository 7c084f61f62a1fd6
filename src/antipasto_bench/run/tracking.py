"""A tracker beside the step log: what log.jsonl has of each step goes to trackio, wandb or tensorboard as well.

A tracker changes nothing of a run. Its package is imported only where a run names it, it is called while the clock of
training stands, and an error of its own is a warning, after which the run goes on without it. A resumed run goes on in
its tracked run, and sends no step that was sent before.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

from ..core.errors import UserError, first_line
from ..core.files import write_json
from ..core.install import install_hint
from ..core.json_types import Json
from ..spec.config import RunConfig
from ..spec.references import recorded_config
from ..store.checked_json import parse_object
from ..store.file_digests import read_checked
from ..store.run_folder import RunFolder
from .train import Step

PROJECT = "antipasto-bench"  # of trackio and wandb, where WANDB_PROJECT names no other
VALUES = ("loss", "lr", "grad_norm", "tokens", "valid_loss")  # of a step, by the names of log.jsonl


class Tracker(Protocol):
    """One of the packages."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of a step, each step once and in order."""

    def end(self, whole: bool) -> None:
        """Keep what was logged, and let go of the run; `whole` where training got to its last step."""


def check_tracker(run: RunConfig) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        UserError: with the command that installs it.
    """
    if run.track != "none" and find_spec(run.track) is None:
        raise UserError(f"track={run.track} needs {run.track}; install it with: {install_hint(run.track)}")


@contextmanager
def tracking(run: RunConfig, name: str, folder: RunFolder, logged: int) -> Iterator[Callable[[Step], None]]:
    """Gives a function to call after each step, which does nothing where the run names no tracker.

    Args:
        name: of the run.
        folder: of the run under way; a tracker's own files lie in it.
        logged: steps that an earlier try logged, of which a checkpoint may hold fewer.
    """
    tracked = _Tracked(run, name, folder, logged)
    try:
        yield tracked.step
        tracked.end(whole=True)
    finally:
        tracked.end(whole=False)


class _Tracked:
    """The tracker of a run, until it fails."""

    def __init__(self, run: RunConfig, name: str, folder: RunFolder, logged: int) -> None:
        self._name = run.track
        self._sent = 0
        self._tracker: Tracker | None = None
        if run.track != "none":
            self._do(lambda: self._open(run, name, folder, logged))

    def step(self, step: Step) -> None:
        tracker = self._tracker
        if tracker is not None and step.step > self._sent:
            values = {key: float(value) for key in VALUES if (value := getattr(step, key)) is not None}
            self._do(lambda: tracker.log(step.step, values))

    def end(self, whole: bool) -> None:
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            self._do(lambda: tracker.end(whole))

    def _open(self, run: RunConfig, name: str, folder: RunFolder, logged: int) -> None:
        marker = folder.tracking
        key, resumes = _begun(marker, run.track), True
        if key is None:
            key, resumes = token_hex(4), False
            write_json(marker, {"track": run.track, "key": key})
        config = recorded_config(run).model_dump(mode="json")
        self._tracker = _TRACKERS[run.track](name, key, config, folder.tracked, resumes)
        self._sent = logged if resumes else 0

    def _do(self, work: Callable[[], None]) -> None:
        try:
            with redirect_stdout(sys.stderr):  # stdout is for results
                work()
        except (Exception, SystemExit) as error:
            self._tracker = None
            warnings.warn(
                f"track={self._name}: {type(error).__name__}: {first_line(error)}; the run goes on without it",
                stacklevel=4,
            )


def _begun(marker: Path, track: str) -> str | None:
    """The key of the tracked run that an earlier try began; None where it began none, or with another tracker."""
    try:
        values = parse_object(read_checked(marker, None))
    except ValueError:  # absent or damaged: another tracked run begins
        return None
    return str(values["key"]) if values.get("track") == track and values.get("key") else None


# Each is given the run's name, the key of its tracked run, its settings, a folder, and whether that run exists.


class _TensorBoard:
    def __init__(self, name: str, key: str, config: Json, folder: Path, resumes: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))
        if not resumes:
            self._writer.add_text("run", "\n".join([f"    {name}", *_lines(config)]))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()  # a killed process has sent what it has logged

    def end(self, whole: bool) -> None:
        self._writer.close()


class _Trackio:
    def __init__(self, name: str, key: str, config: Json, folder: Path, resumes: bool) -> None:
        import trackio

        resume = "allow" if resumes else "never"
        options = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        self._module: Any = trackio
        trackio.init(PROJECT, f"{name}-{key}", config=config, resume=resume, **options)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._module.log(dict(values), step=step)

    def end(self, whole: bool) -> None:
        self._module.finish()


class _Wandb:
    def __init__(self, name: str, key: str, config: Json, folder: Path, resumes: bool) -> None:
        import wandb

        # Nothing is typed in while a run waits: without a key its files stay here, for `wandb sync`.
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            id=key,
            resume="allow" if resumes else "never",
            config=config,
            dir=str(folder),
            mode=mode,
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def end(self, whole: bool) -> None:
        self._run.finish(exit_code=0 if whole else 1)


_TRACKERS: dict[str, Callable[[str, str, Json, Path, bool], Tracker]] = {
    "tensorboard": _TensorBoard, "trackio": _Trackio, "wandb": _Wandb,
}  # fmt: skip


def _lines(config: Json) -> list[str]:
    """A config as an indented block of Markdown."""
    import yaml

    return [f"    {line}" for line in yaml.safe_dump(config, sort_keys=False).splitlines()]
