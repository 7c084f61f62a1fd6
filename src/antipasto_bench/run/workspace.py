"""A run in the making: the folder that it grows in, and what of it a process that was stopped left behind.

config.yaml, log.jsonl           as the finished run has them
checkpoints/                     while it trains
adapter.safetensors, trained.json   once it is trained: nothing of that is done again
answers-SPLIT.jsonl              while it is scored
"""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from torch import nn

import antipasto
import antipasto_bench

from ..core.files import write_json
from ..spec.config import RunConfig
from .answer_log import Answers
from .checkpoints import Checkpoints

CHECKPOINTS, TRAINED, MADE_BY, ANSWERS = "checkpoints", "trained.json", "made_by.json", "answers-*.jsonl"


class Making:
    """Where a run is made. What other versions of the code or of torch began is not gone on with."""

    def __init__(self, folder: Path, run: RunConfig, index: int = 0) -> None:
        """
        Args:
            index: of this process among those that make the run together; the first alone writes, but for answers.
        """
        self.folder = folder
        self.run = run
        self.index = index
        self.checkpoints = Checkpoints(folder / CHECKPOINTS)
        if index > 0:
            return
        made_by = _read(folder / MADE_BY)
        if folder.exists() and made_by != versions():
            self.clear()

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter.safetensors"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def holds_work(self) -> bool:
        """Whether there is anything that another try would not do again."""
        kept = [*(self.folder / CHECKPOINTS).glob("step-*"), *self.folder.glob(ANSWERS)]
        return bool(kept) or (self.folder / TRAINED).exists()

    def begin(self) -> None:
        if self.index > 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = yaml.safe_dump(self.run.model_dump(mode="json"), sort_keys=False)
        (self.folder / "config.yaml").write_text(settings, encoding="utf-8")
        write_json(self.folder / MADE_BY, versions())

    def trained(self) -> dict[str, Any] | None:
        """What was found while the adapter was trained; None where it is not, or is not what was written."""
        kept = _read(self.folder / TRAINED)
        if not isinstance(kept, dict) or not self.adapter.exists() or kept.get("sha256") != self._digest():
            return None
        return dict(kept["found"])

    def keep_trained(self, model: nn.Module, found: dict[str, Any]) -> dict[str, Any]:
        """Write the adapter, and what was found while it was trained.

        Returns:
            that, and how large the adapter is.
        """
        if self.index > 0:
            return found
        found = found | {"adapter_bytes": antipasto.save(model, self.adapter).stat().st_size}
        write_json(self.folder / TRAINED, {"found": found, "sha256": self._digest()})
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
        return found

    def answers(self, split: str) -> Answers:
        """Those of this process."""
        whose = self._digest() if self.adapter.exists() else "the untuned model"
        name = split if self.index == 0 else f"{split}-{self.index}"
        return Answers(self.folder / ANSWERS.replace("*", name), whose)

    def finish(self, place: Path) -> None:
        """Move what was made to its place, and leave there only what a finished run keeps."""
        shutil.rmtree(place, ignore_errors=True)
        self.folder.rename(place)
        shutil.rmtree(place / CHECKPOINTS, ignore_errors=True)
        for path in [place / TRAINED, place / MADE_BY, *place.glob(ANSWERS), *place.glob(".*.partial")]:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _digest(self) -> str:
        return hashlib.sha256(self.adapter.read_bytes()).hexdigest()


@cache
def versions() -> dict[str, str]:
    """What the numbers come from: packages, and every line of the adapters and the harness."""
    code = hashlib.sha256()
    for package in (antipasto, antipasto_bench):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            code.update(path.read_bytes())
    return {name: version(name) for name in ("torch", "transformers", "lm_eval")} | {"code": code.hexdigest()}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
