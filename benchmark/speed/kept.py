"""Memory of a step, in the cells of step.py and of layers.py: what autograd keeps between forward and backward, and the
peak, each arm alone in a process of its own.

The peak counts all that a step takes: parameters, moments of the optimizer, what is kept and what is not; on a GPU what
is allocated, else what is resident, above what the process held before there was a model.
"""

import ctypes
import sys
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from peers import OURS, Bench, arms_of
from shapes import blocks, random_batch

from antipasto_bench.core.device import peak_bytes
from antipasto_bench.core.machine import resident
from antipasto_bench.run.costs import kept_for_backward
from antipasto_bench.speed.harness import Cell, Claim, record

SETTINGS = {
    "nano": lambda: Bench("nano").arms(),
    "three blocks": lambda: arms_of(partial(blocks, 3), random_batch(4, 128)),
}
SETTING = (
    "nano as in step, three blocks as in layers. Our pissa holds W beside its residual, to give it back bit by bit: on "
    "a GPU in the host's memory."
)
MIB = 2**20
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def names(setting: str) -> list[str]:
    return list(SETTINGS[setting]())


def memory(setting: str, name: str) -> tuple[int, int | None]:
    """Bytes kept for backward by a step of an arm, and its peak; to be called in a process that did nothing before."""
    with suppress(OSError, AttributeError):  # glibc: give freed memory back at once, whatever its size
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**16)
    before = resident("RssAnon")
    arm = SETTINGS[setting]()[name]()
    device = next(arm.model.parameters()).device
    arm()  # the moments of the optimizer are made
    peak = None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        arm()
        peak = peak_bytes(device)
    elif before is not None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        arm()
        peak = resident("VmHWM") - resident("RssFile") - before  # code of libraries is no memory of a step
    return kept_for_backward(arm, [*arm.model.parameters(), *arm.model.buffers()]), peak


def main() -> int:
    # A fork has imported all of this already. Nothing is computed before it, so that it has no threads to miss.
    with get_context("fork").Pool(1, maxtasksperchild=1) as alone:
        arms = [(setting, name) for setting in SETTINGS for name in alone.apply(names, (setting,))]
        found = dict(zip(arms, alone.starmap(memory, arms, chunksize=1), strict=True))
    kept = {f"{setting}, {name}": count for (setting, name), (count, _) in found.items()}
    peaks = {f"{setting}, {name}": peak for (setting, name), (_, peak) in found.items() if peak is not None}
    cells = [Cell(arm, "MiB kept", [count / MIB]) for arm, count in kept.items()]
    cells += [Cell(arm, "MiB at its peak", [peak / MIB]) for arm, peak in peaks.items()]
    claims = [
        Claim(f"{setting}: {ours} / peft {theirs}, {what}", figures[arm] / figures[f"{setting}, peft {theirs}"], 1.0)
        for what, figures in (("kept", kept), ("at its peak", peaks))
        for setting in SETTINGS
        for theirs, ours in OURS.items()
        if what == "kept" or ours != "pissa"  # which holds two weights where peft's holds one
        if (arm := f"{setting}, {ours}") in figures
    ]
    return record("kept", SETTING, cells, claims)


if __name__ == "__main__":
    sys.exit(main())
