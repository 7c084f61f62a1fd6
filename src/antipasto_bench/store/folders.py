"""The two folders of evidence: results/ and outputs/."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from ..core.paths import project_root


@dataclass(frozen=True)
class Store:
    """The two folders of evidence: small and versioned, heavy and not."""

    results: Path
    outputs: Path
    own_locks: Path | None = None  # in place of those in outputs/, for a process that works for one that holds them

    @classmethod
    def of(cls, results: Path | None = None, outputs: Path | None = None) -> Store:
        root = project_root()
        return cls((results or root / "results").resolve(), (outputs or root / "outputs").resolve())

    @property
    def table(self) -> Path:
        return self.results / "table.ndjson"

    def items(self, run_id: str) -> Path:
        return self.results / "items" / f"{run_id}.parquet"

    def dossier(self, run_id: str) -> Path:
        return self.results / "runs" / f"{run_id}.json"

    @property
    def locks(self) -> Path:
        return self.own_locks or self.outputs / ".locks"

    def run_dir(self, run_id: str) -> Path:
        return self.outputs / run_id

    def check_writable(self) -> None:
        """Raise UserError where a result could not be written, before any time is spent on making it."""
        for folder in (self.results, self.outputs):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / f".writable.{os.getpid()}"
                try:
                    probe.write_bytes(b"\0" * 65536)
                finally:
                    probe.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
