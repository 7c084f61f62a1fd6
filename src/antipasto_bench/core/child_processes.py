"""How this program starts Python again: never with modules of the current folder in place of installed ones; and what
computes for long ends with the process that started it.

`python -m` puts the current folder first on the path, so that a file torch.py which lies there would be imported.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

# Found before any fork: a child of a process with threads had better load nothing before it executes its command.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_SIGNAL_OF_PARENTS_END = 1  # PR_SET_PDEATHSIG of prctl(2)
_SOURCE = str(Path(__file__).resolve().parents[2])  # where this package was imported from, installed or not


def module_command(module: str) -> list[str]:
    """The command line that runs a module; to be started with `module_environment`."""
    return [sys.executable, "-P", "-m", module]


def module_environment() -> dict[str, str]:
    """This process's environment, in which a child imports this very package."""
    paths = [_SOURCE, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONSAFEPATH": "1"}


def end_with_parent() -> None:
    """For a child to call before it executes its command (`preexec_fn`): Linux sends it SIGTERM once its parent ends.

    However the parent ends, be it by SIGKILL or by a signal that comes while it starts the child. Elsewhere than on
    Linux nothing is done.
    """
    if _PRCTL is not None:
        _PRCTL(_SIGNAL_OF_PARENTS_END, signal.SIGTERM)
