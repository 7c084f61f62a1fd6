"""Where the benchmark's data lie, and where its evidence goes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError

_PACKAGE = Path(__file__).resolve().parent


def project_root() -> Path:
    """The nearest folder, from here upwards, that holds benchmark/presets; else the current folder."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "benchmark" / "presets").is_dir()), here)


def benchmark_dir() -> Path:
    """The benchmark folder: the project's, else the checkout's that this package lies in, else the installed copy."""
    places = (project_root() / "benchmark", _PACKAGE.parents[1] / "benchmark", _PACKAGE / "benchmark")
    return next(p for p in places if (p / "presets").is_dir())


def locate(reference: str) -> Path | None:
    """The file or folder that a string names, seen from here or from the benchmark's own folder; None if neither."""
    for place in (Path(os.path.expanduser(reference)), benchmark_dir().parent / reference):
        try:
            if place.exists():
                return place.resolve()
        except (OSError, ValueError):  # a name too long, or with a character no file can have
            continue
    return None


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
