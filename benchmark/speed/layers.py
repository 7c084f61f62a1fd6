"""A training step of three blocks of Qwen3-0.6B's shape in float32: 4 x 128 tokens, adapters of down_proj."""

import sys
from functools import partial

from peers import arms_of
from shapes import blocks, random_batch

from antipasto_bench.speed import Cell, duel, in_turns, record

TURNS, DUEL_TURNS = 7, 41
AGAINST = [("antipasto_gain r=256", 1.01), ("lora r=32", 1.06)]  # and the most that antipasto may take of theirs


def main() -> int:
    arms = arms_of(partial(blocks, 3), random_batch(4, 128))
    times = in_turns(arms, TURNS, again=3)
    ours = "antipasto r=256"
    claims = [duel(arms[ours], arms[other], DUEL_TURNS, bound, f"{ours} / {other}") for other, bound in AGAINST]
    setting = "Three blocks of Qwen3-0.6B's shape, float32, 4 x 128 tokens, down_proj."
    return record("layers", setting, [Cell(name, "ms", values) for name, values in times.items()], claims)


if __name__ == "__main__":
    sys.exit(main())
