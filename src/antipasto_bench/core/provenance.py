"""Where a number comes from: code, versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("antipasto-bench", "torch", "transformers", "datasets", "lm_eval", "polars", "tokenizers", "safetensors")


def provenance(device: torch.device) -> dict[str, Any]:
    """The commit and its dirtiness, package versions, and the hardware."""
    return {"git": git_state(), "packages": _versions(), "python": platform.python_version(), **_hardware(device)}


@lru_cache
def git_state() -> dict[str, Any]:
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
        return {"commit": None, "dirty": None}
    # The evidence itself grows while a sweep runs; only what makes the numbers counts.
    changed = git("-C", top, "status", "--porcelain", "--", ".", ":!results", ":!README.md", ":!docs/speed.md")
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _hardware(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"device": device.type, "hardware": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
