"""What a run's folder holds, each file's name said once.

A run grows in outputs/.workspaces/<run_id>, and moves to outputs/<run_id> when it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ANSWERS = "answers-{}.jsonl"


@dataclass(frozen=True)
class RunFolder:
    """A run's folder in outputs/, finished or under way; whether it exists is another matter."""

    path: Path

    # ---- of a finished run

    @property
    def config(self) -> Path:
        """The resolved settings, as YAML."""
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        """A line of JSON for each training step."""
        return self.path / "log.jsonl"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter.safetensors"

    @property
    def items(self) -> Path:
        """Right or wrong for each question, as results/items has it."""
        return self.path / "items.parquet"

    @property
    def samples(self) -> Path:
        """Every prompt and answer, a line of JSON each."""
        return self.path / "samples.jsonl"

    @property
    def kinds(self) -> Path:
        """The kind of each test question, as results/kinds has it; not there where they have none."""
        return self.path / "kinds.json"

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    @property
    def tracked(self) -> Path:
        """The files of a tracker such as tensorboard; not there where none was named, or it has a place of its own."""
        return self.path / "tracked"

    # ---- of a run under way

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def training(self) -> Path:
        """What was measured while the adapter was trained, and the digest of its file."""
        return self.path / "trained.json"

    @property
    def tracking(self) -> Path:
        """Which tracked run the one under way is."""
        return self.path / "tracking.json"

    @property
    def rungs(self) -> Path:
        """The held-out losses of a trial so far."""
        return self.path / "rungs.json"

    @property
    def versions(self) -> Path:
        """The code and the packages that the work under way comes from."""
        return self.path / "made_by.json"

    def answers(self, split: str, process: int = 0) -> Path:
        """The answers of one process so far."""
        return self.path / ANSWERS.format(split if process == 0 else f"{split}-{process}")

    def answer_logs(self) -> Iterator[Path]:
        return self.path.glob(ANSWERS.format("*"))

    def temporary(self) -> Iterator[Path]:
        """All that a finished run does not keep, but for the checkpoints."""
        yield from (self.training, self.tracking, self.versions)
        yield from self.answer_logs()
        yield from self.path.glob(".*.partial")
