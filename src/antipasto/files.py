"""Files and folders that appear whole or not at all: written beside their place, flushed, then moved there.

Reading here never waits: what is neither a file nor a folder is an error.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomically(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """A path beside `path` to write a file to; on leaving, it takes its place in one step.

    On an error it is removed, and `path` is as it was. A symbolic link stays one: the file that it leads to is
    replaced. A file that is replaced hands on its permissions.

    Args:
        flush: wait until the disk has it, so that it survives a loss of power; a cache that can tell a damaged entry
            needs no wait.

    Raises:
        OSError: a folder, a read-only file or one of several hard links is in the way; or the file cannot be flushed
            to the disk or moved.
    """
    path, mode = _replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(path)
    try:
        yield partial
        if mode is not None:
            with suppress(OSError):  # of a file system without permissions
                partial.chmod(mode)
        if flush:
            _flush(partial)
        os.replace(partial, path)
        if flush:
            _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_atomically(place: Path, *, replace: bool = True) -> Iterator[Path]:
    """A new folder beside `place` to fill with files; on leaving, it takes its place in one step.

    Args:
        replace: remove what stands there; else only an empty folder gives way. On an error the new folder is removed.

    Raises:
        OSError: a file cannot be flushed to the disk, the folder cannot be moved, or what stands there is not empty.
    """
    partial = _beside(place)
    partial.mkdir(parents=True)
    try:
        yield partial
        move_folder(partial, place, replace=replace)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def move_folder(folder: Path, place: Path, *, replace: bool = True) -> None:
    """Move a folder to `place` in one step, its files flushed to the disk; see `folder_atomically`."""
    for path in folder.rglob("*"):
        if path.is_file():
            _flush(path)
    if replace:
        shutil.rmtree(place, ignore_errors=True)
    elif place.exists():
        place.rmdir()
    folder.rename(place)
    _flush(place.parent)


def require_regular(path: str | os.PathLike[str]) -> None:
    """Check that something can be opened and has an end: opening a pipe waits for a writer, a device can be endless.

    Raises:
        OSError: it is not there, or is neither a file nor a folder.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "is no regular file", os.fspath(path))


def read_regular(path: Path) -> bytes:
    """The content of a file.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    require_regular(path)
    return path.read_bytes()


def _replaceable(path: Path) -> tuple[Path, int | None]:
    """The file to replace, at the end of any symbolic links, and its permissions; None where there is none yet.

    Raises:
        OSError: what stands there is not to be replaced; the message says why.
    """
    place = Path(os.path.realpath(path))
    if place.is_symlink() or (path.is_symlink() and not place.parent.is_dir()):
        raise OSError(errno.ENOENT, "a symbolic link that leads nowhere", str(path))
    try:
        status = place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return place, None
    if not stat.S_ISREG(status.st_mode):
        kind = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(kind, "is no file, and is not replaced by one", str(path))
    if not status.st_mode & 0o222:
        raise OSError(errno.EACCES, "is read-only; allow writing, or name another file", str(path))
    if status.st_nlink > 1:
        raise OSError(
            errno.EMLINK, "has other names (hard links), which would keep the old content; copy it", str(path)
        )
    return place, stat.S_IMODE(status.st_mode)


def _beside(path: Path) -> Path:
    """A hidden name of this process and this moment, so that no two writers share one."""
    return path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.partial")


def _flush(path: Path) -> None:
    """Wait until the disk has a file's content, or a folder's entries where the system lets folders be flushed."""
    if path.is_dir():
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        return
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
