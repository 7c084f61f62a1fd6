"""Locks between processes: one writer of the table, one process for each run, one reader of a GGUF file.

A lock is the system's own (flock), which the kernel releases however its holder ends. Where a file system has none, it
is a claim (`core/claims.py`), and a warning says so once.
"""

from __future__ import annotations

import errno
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .claims import HEARTBEAT_S, Claims
from .errors import UserError, disk_is_full

NO_FLOCK = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
POLL_S = 0.02  # between the first two tries for a claim; each further pause is longer
LONGEST_POLL_S = 1.0


class HeldElsewhere(Exception):  # noqa: N818  (a state, not a fault)
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock for the length of a block.

    Args:
        path: of the lock file; its folder is made where it is not there.
        wait: until another process has released it; else raise.

    Raises:
        HeldElsewhere: another process holds it, and `wait` is False.
        UserError: the file cannot be locked: it is a folder, or its own folder cannot be written.
        OSError: the disk is full.
    """
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _take(path, wait, held)
        except Timeout:
            raise HeldElsewhere(path) from None
        except OSError as error:
            if disk_is_full(error):
                raise
            raise UserError(f"{path}: cannot be locked: {error.strerror or error}") from error
        yield


def _take(path: Path, wait: bool, held: ExitStack) -> None:
    claims = Claims(path.with_name(f"{path.name}.claims"))
    try:
        held.enter_context(FileLock(path, timeout=-1 if wait else 0, fallback_to_soft=False))
        if not claims.folder.exists():  # else processes of a machine that mounts it without flock may hold a claim
            return
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        warnings.warn(
            f"{path.parent} is on a file system without file locks ({error.strerror}): claims, renewed every "
            f"{HEARTBEAT_S:.0f} s, take their place; see docs/cluster.md",
            stacklevel=4,
        )
    poll = POLL_S
    while not claims.take():
        if not wait and not claims.watching:
            raise HeldElsewhere(path)
        time.sleep(poll)
        poll = min(1.5 * poll, LONGEST_POLL_S)
    held.callback(claims.release)
