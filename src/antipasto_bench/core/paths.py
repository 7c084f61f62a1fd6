"""Where the benchmark's own files lie: presets, sweeps, tasks, data."""

from __future__ import annotations

import os
from pathlib import Path

from ..nano import MODEL_DIR

EMBEDDED = {"nano": MODEL_DIR}  # models that ship with the package, by the name that a preset calls them
_PACKAGE = Path(__file__).resolve().parents[1]


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
