"""How this program starts Python again: never with modules of the current folder in place of installed ones.

`python -m` puts the current folder first on the path, so that a file torch.py which lies there would be imported.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_SOURCE = str(Path(__file__).resolve().parents[2])  # where this package was imported from, installed or not


def module_command(module: str) -> list[str]:
    """The command line that runs a module; to be started with `module_environment`."""
    return [sys.executable, "-P", "-m", module]


def module_environment() -> dict[str, str]:
    """This process's environment, in which a child imports this very package."""
    paths = [_SOURCE, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONSAFEPATH": "1"}
