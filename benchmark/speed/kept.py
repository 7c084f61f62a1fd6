"""Bytes that autograd keeps between forward and backward of a step, in the cells of step.py and of layers.py.

What a step takes at its peak, parameters and moments of the optimizer included, is in README's costs; on a GPU, in
gpu.py.
"""

import sys
from collections.abc import Callable
from functools import partial

from peers import Arm, Bench, arms_of
from shapes import blocks, random_batch

from antipasto_bench.measured_cost import kept_for_backward
from antipasto_bench.speed import Cell, record


def kept(setting: str, arms: dict[str, Callable[[], Arm]]) -> list[Cell]:
    """Of a step of every arm, one after another."""
    cells = []
    for name, make in arms.items():
        arm = make()
        count = kept_for_backward(arm, [*arm.model.parameters(), *arm.model.buffers()])
        cells.append(Cell(f"{setting}, {name}", "MiB", [count / 2**20]))
    return cells


def main() -> int:
    cells = kept("nano", Bench("nano").arms())
    cells += kept("three blocks", arms_of(partial(blocks, 3), random_batch(4, 128)))
    return record("kept", "nano as in step, three blocks as in layers.", cells, [])


if __name__ == "__main__":
    sys.exit(main())
