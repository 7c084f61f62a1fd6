"""A training step of SmolLM2-135M in bfloat16 on one thread, four examples: each variant at its published setting, on
the layers of its own.

    antipasto-bench speed --suite real_step eval.data=PATH data.train=PATH

The floor is the base's own step, with a gradient that goes as far down as the variant's: to the first of its layers.
"""

import gc
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import antipasto

from ...core.device import pinned_threads
from ..measuring import compare_arms
from ..peers import DOWN_PROJ, FROZEN_RANK, RANK, PresetArms, TrainingStep, linear_layers
from ..recording import run_suite
from ..suite import ArmFigures, Claim, SuiteResult

PRESET = "smollm2-135m"
PAIRS = 5
FLOOR_SHARE = 0.85  # the least that the floor may be of a step
# ours, peft's method, and the most of its time that ours may take
PEERS = [("lora", "lora", 0.8), ("dora", "dora", 0.9), ("antipasto", "psoft", 0.7)]


def measure(settings: Mapping[str, Any] | None = None) -> Iterator[SuiteResult]:
    """All that is measured so far, after each pair of arms; two or three models are in memory."""
    with pinned_threads(1):
        yield from _measured(settings or {})


def _measured(settings: Mapping[str, Any]) -> Iterator[SuiteResult]:
    fixed = {"batch_size": 4, "eval.general": "none"}
    preset = PresetArms(PRESET, **fixed | dict(settings))
    rows, width = preset.batch()["input_ids"].shape
    setting = (
        f"SmolLM2-135M, bfloat16, one thread, {rows} x {width} tokens; each variant's published rank and layers. "
        f"Bound: floor / step at least {FLOOR_SHARE}. Peft's loss is of every token, ours of completions, as each "
        "trains."
    )
    cells: dict[str, list[float]] = {}
    claims: list[Claim] = []

    def compared(ours: TrainingStep, theirs: TrainingStep, names: tuple[str, str], bound: float) -> SuiteResult:
        claims.append(compare_arms(ours, theirs, PAIRS, bound, " / ".join(names)))
        for name, values in zip(names, zip(*claims[-1].pairs, strict=True), strict=True):
            cells.setdefault(name, [*values])
        return SuiteResult(setting, [ArmFigures(name, "ms", values) for name, values in cells.items()], [*claims])

    for name, variant in antipasto.REGISTRY.items():
        if variant.config.trains:
            gc.collect()  # an adapted model and its layers refer to each other, and are freed by the collector alone
            arm = preset.ours(name)
            targets = antipasto.attachment(arm.model).targets
            kinds = sorted({target.rpartition(".")[2] for target in targets})
            floor = preset.base(targets)
            yield compared(arm, floor, (name, f"base, to its first {' and '.join(kinds)}"), 1 / FLOOR_SHARE)
    for ours, method, bound in PEERS:
        gc.collect()
        arm = preset.ours(ours)
        peer = preset.peft(method, FROZEN_RANK if method == "psoft" else RANK, linear_layers(arm.model, DOWN_PROJ))
        yield compared(arm, peer, (ours, f"peft {method}"), bound)


if __name__ == "__main__":
    sys.exit(run_suite("real_step", measure))
