"""How a training step grows: blocks of Qwen3-0.6B's shape, one of tokens, rows, layers and rank varied at a time.

The exponent p of time ~ size^p is the slope of the least-squares line through the logarithms of the medians.
"""

import sys
from typing import Any

import numpy as np
import torch
from peers import our_step
from shapes import blocks, random_batch

import antipasto
from antipasto_bench.spec.compose import compose
from antipasto_bench.speed.harness import Cell, in_turns, record

TURNS = 5
USUAL = {"tokens": 128, "rows": 2, "layers": 2, "rank": 128}
SIZES = {"tokens": (32, 128, 512), "rows": (1, 2, 4, 8), "layers": (1, 2, 4), "rank": (32, 128, 512)}


def step(tokens: int, rows: int, layers: int, rank: int) -> Any:
    cfg = antipasto.AntiPaSTOConfig(r=rank, target_names=("down_proj",))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = antipasto.attach(blocks(layers).to(device), cfg)
    return our_step(model, compose("lora", {}, "nano"), lambda: random_batch(rows, tokens))


def main() -> int:
    cells = []
    for axis, sizes in SIZES.items():
        times = in_turns({str(size): step(**USUAL | {axis: size}) for size in sizes}, TURNS)
        found = [Cell(f"{size} {axis}", "ms", times[str(size)]) for size in sizes]
        slope = float(np.polyfit(np.log(sizes), np.log([cell.middle for cell in found]), 1)[0])
        cells += [*found, Cell(f"{axis}: exponent", "power", [slope])]
    usual = ", ".join(f"{size} {axis}" for axis, size in USUAL.items())
    setting = f"antipasto on down_proj of Qwen3-0.6B's blocks; where not varied: {usual}. The first block's attention "
    setting += "needs no gradient, so that time grows faster than the number of layers."
    return record("growth", setting, cells, [])


if __name__ == "__main__":
    sys.exit(main())
