"""Where the benchmark's own files lie: presets, sweeps, tasks, data.

A project is a folder with benchmark/presets: a checkout, or a user's own. Outside one, an installed copy of the
benchmark is read, and results/ and outputs/ are those of the current folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..nano import MODEL_DIR

EMBEDDED = {"nano": MODEL_DIR}  # models that ship with the package, by the name that a preset calls them
_PACKAGE = Path(__file__).resolve().parents[1]


def find_project() -> Path | None:
    """The nearest folder, from here upwards, that holds benchmark/presets; None outside a project."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "benchmark" / "presets").is_dir()), None)


def project_root() -> Path:
    """The project, or outside one the current folder."""
    return find_project() or Path.cwd()


def package_checkout() -> Path | None:
    """The checkout that this package is imported from; None for a package installed from a wheel."""
    root = _PACKAGE.parents[1]
    return root if (root / "benchmark" / "presets").is_dir() else None


def benchmark_dir() -> Path:
    """The benchmark folder: the project's, else the checkout's that this package lies in, else the installed copy."""
    roots = (find_project(), package_checkout(), _PACKAGE)
    return next(root / "benchmark" for root in roots if root is not None)


def locate(reference: str) -> Path | None:
    """The file or folder that a string names, seen from here or from the benchmark's own folder; None if neither."""
    for place in (Path(os.path.expanduser(reference)), benchmark_dir().parent / reference):
        try:
            if place.exists():
                return place.resolve()
        except (OSError, ValueError):  # a name too long, or with a character no file can have
            continue
    return None
