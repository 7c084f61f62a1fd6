"""Memory of a step, with the arms of the suites `step` and `layers`: bytes that autograd keeps between forward and
backward, and the peak, each arm alone in a process of its own.

The peak counts all that a step takes: parameters, moments of the optimizer, saved activations and temporaries. On a GPU
it is allocated memory, elsewhere resident memory less what the process held before it had a model.
"""

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from ...core.device import peak_bytes
from ...core.machine import resident
from ...run.costs import bytes_saved_for_backward
from ..peers import VARIANT_BESIDE, Arms, PresetArms, down_proj_arms
from ..recording import run_suite
from ..shapes import build_blocks, random_batch
from ..suite import ArmFigures, Claim, SuiteResult

SETTINGS: dict[str, Callable[[], Arms]] = {
    "nano": lambda: PresetArms("nano").arms(),
    "three blocks": lambda: down_proj_arms(partial(build_blocks, 3), random_batch(4, 128)),
}
SETTING = (
    "nano as in step, three blocks as in layers. Our pissa holds W beside its residual, to give it back bit by bit: on "
    "a GPU in the host's memory."
)
MIB = 2**20
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def arm_names(setting: str) -> list[str]:
    return list(SETTINGS[setting]())


def step_memory(setting: str, name: str) -> tuple[int, int | None]:
    """Bytes that one arm's step keeps for backward, and its peak, in bytes; to be called in a process that did nothing
    before. The peak is None where the system does not tell resident memory."""
    with suppress(OSError, AttributeError):  # glibc: give freed memory back at once, whatever its size
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**16)
    before = resident("RssAnon")
    step = SETTINGS[setting]()[name]()
    device = next(step.model.parameters()).device
    step()  # creates the moments of the optimizer
    peak = None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        peak = peak_bytes(device)
    elif before is not None:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak so far
        step()
        highest, of_files = resident("VmHWM"), resident("RssFile")
        assert highest is not None
        assert of_files is not None
        peak = highest - of_files - before  # the code of libraries is no memory of a step
    return bytes_saved_for_backward(step, [*step.model.parameters(), *step.model.buffers()]), peak


def measure() -> SuiteResult:
    # A forked process has all imports already. This one computes nothing before it forks: torch's threads would be
    # missing in the fork.
    with get_context("fork").Pool(1, maxtasksperchild=1) as alone:
        arms = [(setting, name) for setting in SETTINGS for name in alone.apply(arm_names, (setting,))]
        memory = dict(zip(arms, alone.starmap(step_memory, arms, chunksize=1), strict=True))
    saved = {f"{setting}, {name}": count for (setting, name), (count, _) in memory.items()}
    peaks = {f"{setting}, {name}": peak for (setting, name), (_, peak) in memory.items() if peak is not None}
    cells = [ArmFigures(arm, "MiB kept", [count / MIB]) for arm, count in saved.items()]
    cells += [ArmFigures(arm, "MiB at its peak", [peak / MIB]) for arm, peak in peaks.items()]
    claims = [
        Claim(f"{setting}: {ours} / peft {method}, {what}", figures[arm] / figures[f"{setting}, peft {method}"], 1.0)
        for what, figures in (("kept", saved), ("at its peak", peaks))
        for setting in SETTINGS
        for method, ours in VARIANT_BESIDE.items()
        if what == "kept" or ours != "pissa"  # which holds two weights where peft's holds one
        if (arm := f"{setting}, {ours}") in figures
    ]
    return SuiteResult(SETTING, cells, claims)


if __name__ == "__main__":
    sys.exit(run_suite("kept", measure))
