"""A training step of three blocks of Qwen3-0.6B's shape in float32: 4 x 128 tokens, adapters of down_proj."""

import sys
from functools import partial

from peers import FROZEN_RANK, RANK, arms_of
from shapes import blocks, random_batch

from antipasto_bench.speed.harness import Cell, duel, in_turns, record

TURNS, DUEL_TURNS = 3, 41
AGAINST = [("antipasto_gain", 1.01), ("lora", 1.06)]  # and the most that antipasto's step may take of theirs


def main() -> int:
    arms = {name: make() for name, make in arms_of(partial(blocks, 3), random_batch(4, 128)).items()}
    times = in_turns(arms, TURNS, warm_up=1, again=2)
    claims = [
        duel(arms["antipasto"], arms[other], DUEL_TURNS, bound, f"antipasto / {other}") for other, bound in AGAINST
    ]
    setting = f"Three blocks, float32, 4 x 128 tokens, down_proj; r={FROZEN_RANK} in a frozen basis, else {RANK}."
    return record("layers", setting, [Cell(name, "ms", values) for name, values in times.items()], claims)


if __name__ == "__main__":
    sys.exit(main())
