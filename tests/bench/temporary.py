"""Folders of a test process, which go when it ends."""

import atexit
import os
import shutil
import tempfile


def temporary_folder(prefix: str) -> str:
    """A new folder, removed at the end of the process that made it."""
    made, pid = tempfile.mkdtemp(prefix=prefix), os.getpid()
    atexit.register(lambda: shutil.rmtree(made, ignore_errors=True) if os.getpid() == pid else None)
    return made
