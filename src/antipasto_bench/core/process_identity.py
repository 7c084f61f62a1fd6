"""Which process holds a lock, and whether it is still alive: by machine, boot, number and start of the process.

A number alone names no process: a later one gets it again, another machine or container has one of the same number, and
a process that was killed keeps it until its parent has read its exit status.
"""

from __future__ import annotations

import os
import socket
import uuid
from functools import cache
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel

CLOCK_S = 2.0  # by which two readings of one start may differ: the boot time is told in whole seconds

Fate = Literal["alive", "dead", "unknown"]


class ProcessIdentity(BaseModel):
    """One process of one machine; the empty texts are what a system does not tell."""

    host: str
    machine: str = ""  # of its installation, the same after a reboot
    boot: str = ""  # of its kernel since it was booted; shared by the containers of a machine
    namespace: int = 0  # within which `pid` is its number
    pid: int
    started: float  # seconds from the boot to its start


def this_process() -> ProcessIdentity:
    """The identity of this process."""
    pid = os.getpid()
    return ProcessIdentity(
        host=socket.gethostname(),
        machine=_machine(),
        boot=_text("/proc/sys/kernel/random/boot_id"),
        namespace=_namespace(),
        pid=pid,
        started=started_at(pid) or 0.0,
    )


def fate(process: ProcessIdentity) -> Fate:
    """Whether a process is alive, as far as this one can tell: of another machine or container it cannot."""
    here = this_process()
    if process.boot and here.boot and process.boot != here.boot:
        rebooted = process.machine and (process.host, process.machine) == (here.host, here.machine)
        return "dead" if rebooted else "unknown"
    same_kernel = process.boot == here.boot if process.boot or here.boot else process.host == here.host
    if not same_kernel or process.namespace != here.namespace:
        return "unknown"
    started = started_at(process.pid)
    if started is None and _is_hidden(process.pid):
        return "unknown"
    return "alive" if started is not None and abs(started - process.started) < CLOCK_S else "dead"


def started_at(pid: int) -> float | None:
    """Seconds from the boot of this machine to the start of a process; None where no such process runs.

    Not since 1970: a clock that is set while a run goes on would make its process another one.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):  # killed; its parent does not know yet
            return None
        return float(process.create_time() - psutil.boot_time())
    except (psutil.Error, ValueError, OverflowError):  # a number that no process has
        return None


def _is_hidden(pid: int) -> bool:
    """Whether there is such a process, of another user, that this system shows nothing of (`hidepid` of /proc)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@cache
def _machine() -> str:
    """The installation and the network card: copies of a virtual machine share the first, not the second."""
    installation = _text("/etc/machine-id")
    return f"{installation}-{uuid.getnode():012x}" if installation else ""


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
