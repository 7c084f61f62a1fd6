"""Python's collector of cycles, which a command that reads and then ends has no use for."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Leave cycles where they are, in a block that imports much and makes few of them.

    While modules are imported the collector walks over all that they hold again and again and finds next to nothing: a
    tenth of the time of `report` and of `cost --meta`, which need no more memory without it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
