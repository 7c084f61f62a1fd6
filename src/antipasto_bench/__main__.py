"""`python -m antipasto_bench` is `antipasto-bench`."""

import os
import sys

# `python -m` looks for modules in the current folder first: a torch.py that lies there would be imported.
_PACKAGES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()) and os.path.realpath(os.getcwd()) != _PACKAGES:
    del sys.path[0]

from .cli import main  # noqa: E402

main()
