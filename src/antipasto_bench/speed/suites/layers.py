"""A training step of three blocks of Qwen3-0.6B's shape in float32: 4 x 128 tokens, adapters of down_proj."""

import sys
from functools import partial

from ..measuring import compare_arms, time_arms
from ..peers import FROZEN_RANK, RANK, down_proj_arms
from ..recording import run_suite
from ..shapes import build_blocks, random_batch
from ..suite import ArmFigures, SuiteResult

TURNS, PAIR_TURNS = 3, 41
# Variants of ours, and the most that antipasto's step may take as a multiple of theirs.
BOUNDS = {"antipasto_gain": 1.01, "lora": 1.06}


def measure() -> SuiteResult:
    builders = down_proj_arms(partial(build_blocks, 3), random_batch(4, 128))
    arms = {name: build() for name, build in builders.items()}
    times = time_arms(arms, TURNS, warm_up=1, repeats=2)
    claims = [
        compare_arms(arms["antipasto"], arms[other], PAIR_TURNS, bound, f"antipasto / {other}")
        for other, bound in BOUNDS.items()
    ]
    setting = f"Three blocks, float32, 4 x 128 tokens, down_proj; r={FROZEN_RANK} in a frozen basis, else {RANK}."
    return SuiteResult(setting, [ArmFigures(name, "ms", values) for name, values in times.items()], claims)


if __name__ == "__main__":
    sys.exit(run_suite("layers", measure))
