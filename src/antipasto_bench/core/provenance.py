"""Where a number comes from: code, versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

PACKAGES = ("antipasto-bench", "torch", "transformers", "datasets", "lm_eval", "polars", "tokenizers", "safetensors")


class GitState(BaseModel):
    """The commit that the code was run from."""

    model_config = ConfigDict(extra="forbid")

    commit: str | None  # None outside a git checkout
    dirty: bool | None  # whether files other than results differ from the commit


class CodeAndMachine(BaseModel):
    """What a measurement depends on beside its settings. Older records lack some of it."""

    model_config = ConfigDict(extra="forbid")

    git: GitState
    packages: dict[str, str | None] | None = None
    python: str | None = None
    device: str  # cpu, cuda, mps
    hardware: str  # the name of the processor or the GPU
    cores: int | None = None
    threads: int  # of torch, in one operation
    instructions: str | None = None  # the processor's, that torch's kernels use: AVX2, AVX512, ...
    cuda: dict[str, str] | None = None  # versions of CUDA, cuDNN and the driver, where the device is a GPU
    kernels: dict[str, str | None] | None = None  # versions of packages that linear attention is fast with

    @property
    def machine(self) -> str:
        """Hardware, device and threads in words."""
        return f"{self.hardware}, {self.device}, {self.threads} thread{'s' * (self.threads != 1)}"


def provenance(device: torch.device) -> CodeAndMachine:
    """The commit and its dirtiness, package versions, and the hardware."""
    return CodeAndMachine(
        git=git_state(),
        packages=_versions(),
        python=platform.python_version(),
        device=device.type,
        hardware=torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
    )


@lru_cache
def git_state() -> GitState:
    """The commit this code was run from; `dirty` where files other than results differ from it; None outside git."""
    here = Path(__file__).parent

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(("git", "-C", str(here), *args), capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    if top is None or git("ls-files", "--error-unmatch", __file__) is None:
        return GitState(commit=None, dirty=None)
    # The evidence itself grows while a sweep runs; only what makes the numbers counts.
    changed = git("-C", top, "status", "--porcelain", "--", ".", ":!results", ":!README.md", ":!docs/speed.md")
    return GitState(commit=git("rev-parse", "HEAD"), dirty=bool(changed))


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
