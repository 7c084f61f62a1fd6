"""What of this machine is for this process: not all of it in a container, or in a job of a cluster."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

STATUS = Path("/proc/self/status")
# Of a control group: the limit of its memory, what of it is taken, and what of that are cached files, which give way.
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


def cores() -> int:
    """CPU cores that it may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that may be taken without swapping, and without being killed for passing a limit.

    Args:
        groups: where Linux tells which control groups this process is in; elsewhere there is no such file.
        mounted: where it shows their limits.
    """
    left = [*_left_by(groups, mounted), *_left_to_process()]
    return max(0, min([int(psutil.virtual_memory().available), *left]))


def _left_by(groups: Path, mounted: Path) -> list[int]:
    """What each limit leaves, of the group itself and of all that it is part of."""
    left = []
    for line in groups.read_text().splitlines() if groups.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        names, top = (V1, mounted / "memory") if controllers else (V2, mounted)
        group = top / path.lstrip("/")  # not there in a container, which sees its own group as the top
        for folder in [group, *group.parents][: 1 + len(group.relative_to(top).parts)]:
            try:
                limit, used = (int((folder / name).read_text()) for name in names[:2])
                counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # no such file, or no limit: "max"
                continue
            left.append(limit - used + int(counts.get(names[2], 0)))
    return left


def _left_to_process() -> list[int]:
    """What the limit of this process's own addresses leaves, as `ulimit -v` and some clusters set it."""
    used = resident("VmSize")
    if used is None:  # not Linux
        return []
    limit, _ = psutil.Process().rlimit(psutil.RLIMIT_AS)
    return [] if limit == psutil.RLIM_INFINITY else [limit - used]


def resident(kind: str) -> int | None:
    """Bytes of this process, by a name of Linux's, such as RssAnon, VmHWM or VmSize; None elsewhere."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")), None)
