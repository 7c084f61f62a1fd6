"""A control group with a limit of memory: the kernel kills a process that takes more.

Only root may make one, so that its tests are skipped for other users and in most containers.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MOUNTED = Path("/sys/fs/cgroup")
NAMES = {  # by the kernel's version of control groups: the folder of groups, the limit, and the most that was taken
    1: (MOUNTED / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
    2: (MOUNTED, "memory.max", "memory.peak"),
}


@dataclass(frozen=True)
class ControlGroup:
    folder: Path
    peak_name: str

    def command(self, *words: str) -> list[str]:
        """Words that run a command in the group."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *words]

    @property
    def peak(self) -> int:
        """The most bytes that its processes have held together."""
        return int((self.folder / self.peak_name).read_text())


@contextmanager
def memory_limited_to(limit: int) -> Iterator[ControlGroup]:
    """A group whose processes hold at most `limit` bytes; the test is skipped where none can be made."""
    top, limit_name, peak_name = NAMES[1 if NAMES[1][0].is_dir() else 2]
    folder = top / f"antipasto-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit_name).write_text(str(limit))
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield ControlGroup(folder, peak_name)
    finally:
        folder.rmdir()
