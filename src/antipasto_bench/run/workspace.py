"""A run's workspace: the folder that a run under way grows in, and what an interrupted process left there.

config.yaml, log.jsonl               as the finished run has them
checkpoints/                         while it trains
adapter.safetensors, trained.json    once it is trained: nothing of that is done again
answers-SPLIT.jsonl                  while it is scored
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path

import yaml
from pydantic import BaseModel
from torch import nn

import antipasto
import antipasto_bench

from ..core.errors import Damaged
from ..core.files import move_folder, write_bytes, write_json
from ..core.fingerprint import sha256_of
from ..spec.config import RunConfig
from ..store.checked_json import parse_object, with_digest, without_digest
from ..store.record import Size, Timing, Training
from ..store.run_folder import RunFolder
from .answer_log import AnswerLog
from .checkpoints import Checkpoint, Checkpoints


class TrainedAdapter(BaseModel):
    """What was measured while an adapter was trained, as parts of the record; and digests of the files beside it."""

    log_sha256: str  # of the training log
    size: Size
    training: Training
    timing: Timing


class Workspace:
    """Where a run is made. Work of another version of the code or of torch is dropped."""

    def __init__(self, folder: RunFolder, run: RunConfig, index: int = 0) -> None:
        """
        Args:
            index: of this process among those that make the run together; only the first writes, except answers.
        """
        self.folder = folder
        self.run = run
        self.index = index
        self.checkpoints = Checkpoints(folder.checkpoints)
        if index == 0 and folder.path.exists() and self._made_by() != versions():
            self.clear()

    @property
    def holds_work(self) -> bool:
        """Whether there is anything that another try would not have to do again."""
        work = [*self.folder.checkpoints.glob("step-*"), *self.folder.answer_logs()]
        return bool(work) or self.folder.training.exists()

    def begin(self) -> None:
        """Write the settings; until then a run leaves no trace."""
        if self.index > 0:
            return
        self.folder.path.mkdir(parents=True, exist_ok=True)
        settings = yaml.safe_dump(self.run.model_dump(mode="json"), sort_keys=False)
        write_bytes(self.folder.config, settings.encode())
        write_json(self.folder.versions, versions())

    def trained(self) -> TrainedAdapter | None:
        """The trained adapter that an earlier try left; None where there is none, or with a warning, it is damaged.

        A damaged training log is left out with a warning: the record has no number of it.
        """
        if not self.folder.training.exists():
            return None
        try:
            values = without_digest(parse_object(self.folder.training.read_bytes()), required=True)
            trained = TrainedAdapter.model_validate(values)
            if trained.size.adapter_sha256 != self._adapter_digest():
                raise ValueError(f"{self.folder.adapter.name} is not what was written")
        except (OSError, ValueError) as error:
            warnings.warn(
                f"{self.folder.training} is damaged; the run is trained again: {error}", Damaged, stacklevel=2
            )
            return None
        if trained.log_sha256 != log_digest(self.logged_until(None)):
            self._leave_out_log()
        return trained

    def save_trained(self, model: nn.Module, size: Size, training: Training, timing: Timing) -> TrainedAdapter:
        """Write the adapter, and what was measured while it was trained; `size` is given its file's size and digest."""
        size.adapter_bytes = antipasto.save(model, self.folder.adapter).stat().st_size
        size.adapter_sha256 = self._adapter_digest()
        trained = TrainedAdapter(
            log_sha256=log_digest(self.logged_until(None)),
            size=size,
            training=training,
            timing=timing,
        )
        write_json(self.folder.training, with_digest(trained.model_dump(mode="json", exclude_unset=True)))
        shutil.rmtree(self.folder.checkpoints, ignore_errors=True)
        return trained

    def logged_until(self, step: int | None) -> bytes:
        """The first lines of the training log, one for each step; all of it where `step` is None."""
        try:
            lines = self.folder.log.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return b""
        return b"".join(lines[:step])

    def log_before(self, checkpoint: Checkpoint | None) -> bytes:
        """The training log as it was when a checkpoint was written; empty, with a warning, where it is damaged."""
        if checkpoint is None:
            return b""
        lines = self.logged_until(checkpoint.state["step"] - checkpoint.state["unlogged"])
        if log_digest(lines) == checkpoint.state["log_sha256"]:
            return lines
        self._leave_out_log()
        return b""

    def _leave_out_log(self) -> None:
        warnings.warn(
            f"{self.folder.log} is damaged; the curve of {self.run.run_id} begins anew", Damaged, stacklevel=3
        )
        self.folder.log.unlink(missing_ok=True)

    def answers(self, split: str, merged: bool) -> AnswerLog:
        """The answers that this process has generated for a split, by merged weights or not: none of the other kind."""
        model = self._adapter_digest() if self.folder.adapter.exists() else "the untuned model"
        return AnswerLog(self.folder.answers(split, self.index), f"{model}, merged" if merged else model)

    def finish(self, place: RunFolder) -> None:
        """Move the folder to its place, and leave there only what a finished run keeps."""
        move_folder(self.folder.path, place.path)
        shutil.rmtree(place.checkpoints, ignore_errors=True)
        for path in [*place.temporary()]:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        shutil.rmtree(self.folder.path, ignore_errors=True)

    def _adapter_digest(self) -> str:
        return sha256_of(self.folder.adapter)

    def _made_by(self) -> object:
        try:
            return json.loads(self.folder.versions.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def log_digest(lines: bytes) -> str:
    """sha256 of lines of the training log."""
    return hashlib.sha256(lines).hexdigest()


@cache
def versions() -> dict[str, str]:
    """What the numbers come from: package versions, and a digest of every line of the adapters and the harness."""
    code = hashlib.sha256()
    for package in (antipasto, antipasto_bench):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            code.update(path.read_bytes())
    return {name: version(name) for name in ("torch", "transformers", "lm_eval")} | {"code": code.hexdigest()}
