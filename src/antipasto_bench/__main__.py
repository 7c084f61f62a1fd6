"""`python -m antipasto_bench` is `antipasto-bench`."""

import os
import sys

# `python -m` looks for modules in the current folder first: a torch.py that lies there would be imported.
_PACKAGES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
try:
    _HERE = os.getcwd()
except FileNotFoundError:  # the folder is gone, and no module lies in it; `main` says so
    _HERE = ""
if not sys.flags.safe_path and sys.path[0] in ("", _HERE) and os.path.realpath(_HERE or os.sep) != _PACKAGES:
    del sys.path[0]

from .cli import main  # noqa: E402

main()
