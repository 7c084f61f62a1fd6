"""Claims about what of a machine a process takes to be its own."""

import os
import subprocess
import sys

import psutil
import pytest

from antipasto_bench.core.child_processes import module_environment
from antipasto_bench.core.machine import cores, free_memory

GB = 10**9


def group(folder, names, limit, used, cached):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    counts = {"anon": used - cached, "inactive_file": cached, "total_inactive_file": cached}
    (folder / "memory.stat").write_text("".join(f"{name} {count}\n" for name, count in counts.items()))


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What a process is told of its groups, on a machine with 64 GB free."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 64 * GB}))
    listed, mounted = tmp_path / "cgroup", tmp_path / "mounted"

    def free(lines):
        listed.write_text("".join(f"{line}\n" for line in lines))
        return free_memory(listed, mounted)

    return free, mounted


def test_a_limit_of_a_job_bounds_what_is_free(told):
    free, mounted = told
    names = ("memory.max", "memory.current")
    group(mounted / "slurm" / "job_7", names, 8 * GB, 3 * GB, 1 * GB)
    group(mounted / "slurm" / "job_7" / "step_0", names, "max", 3 * GB, 1 * GB)
    assert free(["0::/slurm/job_7/step_0"]) == 6 * GB, "its parent's; cached files give way"
    assert free(["0::/slurm"]) == 64 * GB
    assert free([]) == 64 * GB
    group(mounted / "slurm" / "job_7" / "step_0", names, 2 * GB, 3 * GB, 0)
    assert free(["0::/slurm/job_7/step_0"]) == 0


def test_a_container_that_sees_its_group_as_the_top_is_bounded_too(told):
    free, mounted = told
    group(mounted, ("memory.max", "memory.current"), 4 * GB, 1 * GB, 0)
    assert free(["0::/../../docker/0123"]) == 3 * GB


def test_groups_of_the_older_kind_are_read(told):
    free, mounted = told
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(mounted / "memory" / "job", names, 5 * GB, 2 * GB, 1 * GB)
    group(mounted / "memory", names, 2**63 - 4096, 9 * GB, 1 * GB)
    assert free(["4:cpu,cpuacct:/job", "3:memory:/job", "0::/"]) == 4 * GB
    assert free(["4:cpu,cpuacct:/job"]) == 64 * GB


def test_here_it_is_no_more_than_the_machine_has():
    assert 0 < free_memory() <= psutil.virtual_memory().total
    assert 1 <= cores() <= os.cpu_count()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much a process has taken of its limit")
def test_a_limit_of_the_process_itself_bounds_what_is_free():
    code = """
import resource
from antipasto_bench.core.machine import free_memory, resident
before = free_memory()
resource.setrlimit(resource.RLIMIT_AS, (resident("VmSize") + 2**28, resource.RLIM_INFINITY))
print(before > 2**28 >= free_memory() > 2**27)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=module_environment())
    assert done.stdout == "True\n", done.stderr
