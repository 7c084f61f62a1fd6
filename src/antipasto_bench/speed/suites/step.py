"""A training step on nano, every linear layer a target, 16 examples: each variant at the preset's setting.

The floor of a step is the base's own, with a gradient that goes as far down as the adapter's: to the first of the
layers that it adapts. No step can be faster and right.
"""

import sys
from collections.abc import Mapping

import antipasto

from ..measuring import compare_arms, time_arms
from ..peers import VARIANT_BESIDE, PresetArms, TrainingStep
from ..recording import run_suite
from ..suite import ArmFigures, SuiteResult

TURNS, PAIR_TURNS, FLOOR_TURNS = 9, 61, 21
# peft's methods, and the most that our step may take as a share of theirs.
BOUNDS = {"psoft": 0.92, "lora": 0.92, "hra": 0.65, "dora": 0.95, "delora": 0.95, "road": 0.95, "ia3": 0.95}


def floors(preset: PresetArms, arms: Mapping[str, TrainingStep]) -> dict[str, tuple[str, TrainingStep]]:
    """For every arm of ours, the name of its floor and the floor. Variants that adapt the same layers share one."""
    by_targets = {frozenset(preset.linear_layers): ("base", arms["base"])}
    by_arm = {}
    for name, arm in arms.items():
        if name == "base" or name.startswith("peft "):
            continue
        targets = frozenset(antipasto.attachment(arm.model).targets)
        if targets not in by_targets:
            kinds = sorted({target.rpartition(".")[2] for target in targets})
            by_targets[targets] = f"base, to its first {' and '.join(kinds)}", preset.base(targets)
        by_arm[name] = by_targets[targets]
    return by_arm


def measure() -> SuiteResult:
    preset = PresetArms("nano")
    arms = {name: build() for name, build in preset.arms().items()}
    floor_of = floors(preset, arms)
    times = time_arms(dict(floor_of.values()) | arms, TURNS, repeats=4)
    pairs = [("antipasto", "antipasto_gain", 1.08)]
    pairs += [(VARIANT_BESIDE[method], f"peft {method}", bound) for method, bound in BOUNDS.items()]
    claims = [compare_arms(arms[a], arms[b], PAIR_TURNS, bound, f"{a} / {b}") for a, b, bound in pairs]
    for name, (_, floor) in floor_of.items():
        claims.append(compare_arms(floor, arms[name], FLOOR_TURNS, 1.0, f"floor / {name}"))
    rows, width = preset.batch()["input_ids"].shape
    setting = f"nano, {rows} x {width} tokens, r=16, or 64 in a frozen basis and for psoft; ia3 on keys and values."
    return SuiteResult(setting, [ArmFigures(name, "ms", values) for name, values in times.items()], claims)


if __name__ == "__main__":
    sys.exit(run_suite("step", measure))
