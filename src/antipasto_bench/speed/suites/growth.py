"""How a training step grows: blocks of Qwen3-0.6B's shape, one of tokens, rows, layers and rank varied at a time.

The exponent p of time ~ size^p is the slope of the least-squares line through the logarithms of the medians.
"""

import sys

import numpy as np
import torch

import antipasto

from ...spec.compose import compose
from ..measuring import time_arms
from ..peers import TrainingStep, our_step
from ..recording import run_suite
from ..shapes import build_blocks, random_batch
from ..suite import ArmFigures, SuiteResult

TURNS = 5
USUAL = {"tokens": 128, "rows": 2, "layers": 2, "rank": 128}
SIZES = {"tokens": (32, 128, 512), "rows": (1, 2, 4, 8), "layers": (1, 2, 4), "rank": (32, 128, 512)}


def step_of_size(tokens: int, rows: int, layers: int, rank: int) -> TrainingStep:
    cfg = antipasto.AntiPaSTOConfig(r=rank, target_names=("down_proj",))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = antipasto.attach(build_blocks(layers).to(device), cfg)
    return our_step(model, compose("lora", {}, "nano"), lambda: random_batch(rows, tokens))


def measure() -> SuiteResult:
    cells = []
    for axis, sizes in SIZES.items():
        times = time_arms({str(size): step_of_size(**USUAL | {axis: size}) for size in sizes}, TURNS)
        of_axis = [ArmFigures(f"{size} {axis}", "ms", times[str(size)]) for size in sizes]
        slope = float(np.polyfit(np.log(sizes), np.log([cell.median for cell in of_axis]), 1)[0])
        cells += [*of_axis, ArmFigures(f"{axis}: exponent", "power", [slope])]
    usual = ", ".join(f"{size} {axis}" for axis, size in USUAL.items())
    setting = f"antipasto on down_proj of Qwen3-0.6B's blocks; where not varied: {usual}. The first block's attention "
    setting += "needs no gradient, so that time grows faster than the number of layers."
    return SuiteResult(setting, cells, [])


if __name__ == "__main__":
    sys.exit(run_suite("growth", measure))
