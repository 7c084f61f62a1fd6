"""A training step on nano, every linear layer a target, 16 examples: each variant at the preset's setting.

The floor of a step is the base's own, with a gradient that goes as far down as the adapter's: to the first of the
layers that it adapts. No step can be faster and right.
"""

import sys
from collections.abc import Mapping

from peers import OURS, Arm, Bench

import antipasto
from antipasto_bench.speed.harness import Cell, duel, in_turns, record

TURNS, DUEL_TURNS, FLOOR_TURNS = 9, 61, 21
AGAINST = {"psoft": 0.92, "lora": 0.92, "hra": 0.65, "dora": 0.95, "delora": 0.95, "road": 0.95, "ia3": 0.95}


def floors(bench: Bench, arms: Mapping[str, Arm]) -> dict[str, tuple[str, Arm]]:
    """Of every arm of ours, its floor, with the name of that. Variants of the same layers share one."""
    made = {frozenset(bench.every): ("base", arms["base"])}
    found = {}
    for name, arm in arms.items():
        if name == "base" or name.startswith("peft "):
            continue
        targets = frozenset(antipasto.attachment(arm.model).targets)
        if targets not in made:
            kinds = sorted({target.rpartition(".")[2] for target in targets})
            made[targets] = f"base, to its first {' and '.join(kinds)}", bench.base(targets)
        found[name] = made[targets]
    return found


def main() -> int:
    bench = Bench("nano")
    arms = {name: make() for name, make in bench.arms().items()}
    least = floors(bench, arms)
    times = in_turns(dict(least.values()) | arms, TURNS, again=4)
    against = [("antipasto", "antipasto_gain", 1.08)]
    against += [(OURS[peer], f"peft {peer}", bound) for peer, bound in AGAINST.items()]
    claims = [duel(arms[a], arms[b], DUEL_TURNS, bound, f"{a} / {b}") for a, b, bound in against]
    claims += [duel(floor, arms[name], FLOOR_TURNS, 1.0, f"floor / {name}") for name, (_, floor) in least.items()]
    rows, width = bench.batch()["input_ids"].shape
    setting = f"nano, {rows} x {width} tokens, r=16, or 64 in a frozen basis and for psoft; ia3 on keys and values."
    return record("step", setting, [Cell(name, "ms", values) for name, values in times.items()], claims)


if __name__ == "__main__":
    sys.exit(main())
