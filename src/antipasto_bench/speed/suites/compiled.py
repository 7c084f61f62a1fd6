"""A training step on nano through torch.compile and without it, and how long the first step takes."""

import os
import sys
import tempfile
import time

from ..measuring import compare_arms, time_arms
from ..peers import PresetArms, TrainingStep
from ..recording import run_suite
from ..suite import ArmFigures, SuiteResult

TURNS, PAIR_TURNS = 7, 31


def measure() -> SuiteResult:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp()  # an empty cache: everything is compiled here
    preset = PresetArms("nano")
    arms: dict[str, TrainingStep] = {}
    cells, claims = [], []
    for name in ("lora", "antipasto"):
        arms[name], arms[f"{name}, compiled"] = preset.ours(name), preset.ours(name, compile=True)
        start = time.perf_counter()
        arms[f"{name}, compiled"]()
        cells.append(ArmFigures(f"{name}, compiled, first step", "s", [time.perf_counter() - start]))
    times = time_arms(arms, TURNS, repeats=4)
    cells += [ArmFigures(arm, "ms", values) for arm, values in times.items()]
    for name in ("lora", "antipasto"):
        what = f"{name}, compiled / {name}"
        claims.append(compare_arms(arms[f"{name}, compiled"], arms[name], PAIR_TURNS, 0.9, what))
    return SuiteResult("nano, 16 examples; nothing was compiled before.", cells, claims)


if __name__ == "__main__":
    sys.exit(run_suite("compiled", measure))
