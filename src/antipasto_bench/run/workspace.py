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
from importlib.util import find_spec
from pathlib import Path

import yaml
from pydantic import BaseModel
from torch import nn

import antipasto
import antipasto_bench

from ..core.errors import first_line
from ..core.files import move_folder, write_bytes, write_json
from ..core.fingerprint import sha256_of
from ..spec.config import RunConfig
from ..spec.references import local_config
from ..store.checked_json import parse_object, with_digest, without_digest
from ..store.file_digests import read_checked
from ..store.record import Size, Timing, Training
from ..store.run_folder import RunFolder
from .answer_log import AnswerLog
from .checkpoints import Checkpoints
from .methods.registry import require_adapter


class TrainedAdapter(BaseModel):
    """What was measured while an adapter was trained, as parts of the record, with the digest of the adapter's file."""

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
        if index == 0 and folder.path.exists() and not self._is_of_this_code():
            self.clear()

    @property
    def holds_work(self) -> bool:
        """Whether there is anything that another try would not have to do again."""
        work = [*self.folder.checkpoints.glob("step-*"), *self.folder.answer_logs()]
        return bool(work) or self.folder.training.exists()

    def begin(self) -> None:
        """Write the settings, with the paths of this machine; until then a run leaves no trace."""
        if self.index > 0:
            return
        self.folder.path.mkdir(parents=True, exist_ok=True)
        settings = yaml.safe_dump(local_config(self.run).model_dump(mode="json"), sort_keys=False)
        write_bytes(self.folder.config, settings.encode())
        write_json(self.folder.versions, with_digest(versions()))

    def trained(self) -> TrainedAdapter | None:
        """The trained adapter that an earlier try left; None where there is none, with a warning if it is damaged."""
        if not self.folder.training.exists():
            return None
        name = self.folder.training.name
        try:
            values = without_digest(parse_object(read_checked(self.folder.training, None)), required=True)
            trained = TrainedAdapter.model_validate_json(json.dumps(values))
            name = self.folder.adapter.name
            if hashlib.sha256(read_checked(self.folder.adapter, None)).hexdigest() != trained.size.adapter_sha256:
                raise ValueError("not what was trained")
        except ValueError as error:
            self._warn(f"{name} is damaged, and the adapter is trained again: {first_line(error)}")
            return None
        return trained

    def save_trained(self, model: nn.Module, size: Size, training: Training, timing: Timing) -> TrainedAdapter:
        """Write the adapter, and what was measured while it was trained; `size` is given its file's size and digest."""
        size.adapter_bytes = require_adapter(model).save(self.folder.adapter).stat().st_size
        size.adapter_sha256 = self._adapter_digest()
        trained = TrainedAdapter(size=size, training=training, timing=timing)
        write_json(self.folder.training, with_digest(trained.model_dump(exclude_unset=True)))
        shutil.rmtree(self.folder.checkpoints, ignore_errors=True)
        return trained

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

    def _is_of_this_code(self) -> bool:
        name, here = self.folder.versions.name, versions()
        try:
            values = parse_object(read_checked(self.folder.versions, None))
            other = values.get("code") != here["code"]  # which may have written no digest
            made_by = without_digest(values, required=not other)
        except ValueError as error:
            if self.holds_work:
                self._warn(f"{name} is damaged, and the run begins anew: {first_line(error)}")
            return False
        changed = [each for each, value in here.items() if made_by.get(each) != value]
        if changed and self.holds_work:
            self._warn(f"an earlier try was made with another version of {', '.join(changed)}; the run begins anew")
        return made_by == here

    def _warn(self, text: str) -> None:
        warnings.warn(f"{self.folder.path.name}: {text}", stacklevel=3)


@cache
def versions() -> dict[str, str]:
    """What the numbers come from: package versions, and a digest of every line of the adapters and the harness."""
    code = hashlib.sha256()
    for package in (antipasto, antipasto_bench):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            code.update(path.read_bytes())
    packages = ["torch", "transformers", "lm_eval", *(["peft"] if find_spec("peft") else [])]
    return {name: version(name) for name in packages} | {"code": code.hexdigest()}
