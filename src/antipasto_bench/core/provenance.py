"""Where a number comes from: code, versions, machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:  # who only reads records needs no torch, which takes a second or two to import
    import torch

LINEAR_ATTENTION_PACKAGES = ("flash-linear-attention", "causal-conv1d")  # the extra `fla`
QUANTISATION_PACKAGES = ("bitsandbytes", "accelerate")  # the extra `quant`
ONEDNN_KERNELS = ("avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16")  # instructions beyond those that torch names
DRIVER = Path("/proc/driver/nvidia/version")
PACKAGES = ("antipasto-bench", "torch", "transformers", "datasets", "lm_eval", "polars", "tokenizers", "safetensors")


class GitState(BaseModel):
    """The commit that the code was run from."""

    model_config = ConfigDict(extra="forbid")

    commit: str | None  # None outside a git checkout
    dirty: bool | None  # whether what makes numbers differs from the commit


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


def provenance(
    device: torch.device, linear_attention: bool = False, more_packages: Iterable[str] = ()
) -> CodeAndMachine:
    """The commit and its dirtiness, package versions, and the hardware.

    Args:
        linear_attention: whether the model has layers that LINEAR_ATTENTION_PACKAGES compute.
        more_packages: that it is computed with, beside PACKAGES.
    """
    import torch

    return CodeAndMachine(
        git=git_state(),
        packages=installed_versions((*PACKAGES, *more_packages)),
        python=platform.python_version(),
        device=device.type,
        hardware=torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        instructions=_instructions(),
        cuda=_cuda_versions() if device.type == "cuda" else None,
        kernels=installed_versions(LINEAR_ATTENTION_PACKAGES) if linear_attention else None,
    )


@lru_cache
def git_state() -> GitState:
    """The commit this code was run from, and whether the checkout differs from it in what makes numbers."""
    return git_state_of(Path(__file__))


def git_state_of(source: Path) -> GitState:
    """The state of the checkout that holds a source file; None where it is in no checkout.

    `dirty` is for what can change a number: a committed file other than results and pages, or a new one among code and
    benchmarks. Data that a user has put beside them is recorded by its content, and results grow while a sweep runs.
    """

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(("git", "-C", str(source.parent), *args), capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    if top is None or git("ls-files", "--error-unmatch", str(source)) is None:
        return GitState(commit=None, dirty=None)
    pages = (":!results", ":!README.md", ":!docs")
    changed = git("-C", top, "status", "--porcelain", "--untracked-files=no", "--", ".", *pages)
    new = git("-C", top, "ls-files", "--others", "--exclude-standard", "--", "src", "benchmark")
    unknown = changed is None or new is None  # git was too slow, or failed
    return GitState(commit=git("rev-parse", "HEAD"), dirty=None if unknown else bool(changed or new))


def installed_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """The version of each package; None of those that are not installed."""
    versions: dict[str, str | None] = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def _instructions() -> str:
    """The widest instructions that torch's own kernels use, and those that oneDNN's use beside them.

    ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA can lower both.
    """
    import torch

    has: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch lack it
    names = [torch.backends.cpu.get_cpu_capability(), *(name for name in ONEDNN_KERNELS if has.get(name))]
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return " ".join(names) + (f", oneDNN up to {limit}" if limit else "")


def _cuda_versions() -> dict[str, str]:
    """Versions of CUDA, cuDNN and the driver; those that this machine does not tell are left out."""
    import torch

    driver = re.search(r"Module +([0-9.]+)", DRIVER.read_text()) if DRIVER.exists() else None
    cudnn = torch.backends.cudnn.version()
    versions = {
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
        "driver": None if driver is None else driver[1],
    }
    return {name: number for name, number in versions.items() if number is not None}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
