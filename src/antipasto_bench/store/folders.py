"""The two folders of evidence: results/ and outputs/."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from ..core.names import checked_run_id
from ..core.paths import project_root
from .run_folder import RunFolder


@dataclass(frozen=True)
class Store:
    """The two folders of evidence: small and versioned, heavy and not.

    No path is made of a run id that could lead out of them: that is a UserError, whoever gave the id.
    """

    results: Path
    outputs: Path
    own_locks: Path | None = None  # in place of those in outputs/, for a process that works for one that holds them

    @classmethod
    def of(cls, results: Path | None = None, outputs: Path | None = None, *, reads: bool = False) -> Store:
        """The two folders, those of the project where none is given.

        Args:
            reads: whether a results folder that was given must be there.

        Raises:
            UserError: a file stands where a folder was given, or the folder to read is not there.
        """
        for option, folder in (("--results", results), ("--outputs", outputs)):
            if folder is not None and folder.is_file():
                raise UserError(f"{option} {folder}: is a file; expected a folder")
        if reads and results is not None and not results.is_dir():
            raise UserError(f"--results {results}: no such folder; give the one that holds table.ndjson")
        root = project_root()
        return cls((results or root / "results").resolve(), (outputs or root / "outputs").resolve())

    @property
    def table(self) -> Path:
        return self.results / "table.ndjson"

    @property
    def trials(self) -> Path:
        """The trials of `tune`, which are no results."""
        return self.results / "tune" / "trials.ndjson"

    @property
    def repeats(self) -> Path:
        """Runs of the table that were made again, and how they compare."""
        return self.results / "reproduced.ndjson"

    def repeated(self, run_id: str) -> Path:
        """Folder in which a run of the table is made again."""
        return self.outputs / ".reproduced" / checked_run_id(run_id)

    def items(self, run_id: str) -> Path:
        return self.results / "items" / f"{checked_run_id(run_id)}.parquet"

    def name_of_items(self, run_id: str) -> str:
        """How messages name that file: relative to results/."""
        return f"items/{run_id}.parquet"

    def kinds(self, questions: str) -> Path:
        """The kinds of the test questions of that digest."""
        return self.results / "kinds" / f"{questions}.json"

    def excerpts(self, run_id: str) -> Path:
        return self.results / "runs" / f"{checked_run_id(run_id)}.json"

    @property
    def locks(self) -> Path:
        return self.own_locks or self.outputs / ".locks"

    def lock(self, run_id: str) -> Path:
        """Lock file, held by the process that makes the run."""
        return self.locks / f"{checked_run_id(run_id)}.lock"

    def lease(self, run_id: str) -> Path:
        """Lease file: which process that is."""
        return self.locks / f"{checked_run_id(run_id)}.json"

    def run_folder(self, run_id: str) -> RunFolder:
        """Folder of a finished run."""
        return RunFolder(self.outputs / checked_run_id(run_id))

    def workspace(self, run_id: str) -> RunFolder:
        """Folder of a run under way."""
        return RunFolder(self.outputs / ".workspaces" / checked_run_id(run_id))

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
