"""How to install an optional dependency into the environment that runs this code."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from .paths import package_checkout

WITHOUT_LOCK = {"vllm"}  # extras that need another version of a locked package


def install_hint(extra: str) -> str:
    """The command that installs an extra of antipasto-bench.

    From a checkout whose .venv runs this code, at the locked versions; elsewhere by the name of the installed package.

    Args:
        extra: a key of `[project.optional-dependencies]` in pyproject.toml.
    """
    root = package_checkout()
    if root is None or Path(sys.prefix).resolve() != (root / ".venv").resolve():
        return f"pip install 'antipasto-bench[{extra}]'"
    change_folder = "" if Path.cwd() == root else f"cd {shlex.quote(str(root))} && "
    lock = "" if extra in WITHOUT_LOCK else "-c requirements.lock "
    return f"{change_folder}.venv/bin/pip install {lock}-e ./src -e '.[{extra}]'"
