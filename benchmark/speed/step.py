"""A training step on nano, every linear layer a target, 16 examples: each variant at the preset's setting."""

import sys

from peers import Bench

from antipasto_bench.speed import Cell, duel, in_turns, record

TURNS, DUEL_TURNS = 9, 61
# our variant, the method of peft that it is held against, and the most that our step may take of theirs
AGAINST = [
    ("antipasto", "psoft", 0.92),
    ("lora", "lora", 0.92),
    ("hra", "hra", 0.65),
    ("dora", "dora", 0.95),
    ("delora", "delora", 0.95),
    ("road", "road", 0.95),
    ("ia3", "ia3", 0.95),
]


def main() -> int:
    bench = Bench("nano")
    arms = {name: make() for name, make in bench.arms().items()}
    times = in_turns(arms, TURNS, again=4)
    against = [("antipasto", "antipasto_gain", 1.08)] + [(name, f"peft {peer}", bound) for name, peer, bound in AGAINST]
    claims = [duel(arms[a], arms[b], DUEL_TURNS, bound, f"{a} / {b}") for a, b, bound in against]
    rows, width = bench.batch()["input_ids"].shape
    setting = f"nano, {rows} x {width} tokens, r=16, or 64 in a frozen basis and for psoft; ia3 on keys and values."
    return record("step", setting, [Cell(name, "ms", values) for name, values in times.items()], claims)


if __name__ == "__main__":
    sys.exit(main())
