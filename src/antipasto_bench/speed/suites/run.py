"""A whole nano run, 300 steps of 16, 500 questions and the loss of their reference solutions, on one thread as the
preset has it: ours, and the same run made peft's way (whole_runs.py); over several seeds.

Psoft runs at lora's learning rate, which was not tuned for it: its accuracy says nothing of the method. Whether
accuracy is lost is tested question by question, with the seeds as what varies (antipasto_bench.analysis.stats.compare);
the record holds every answer, 1 where it is right.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import antipasto

from ...analysis.stats import compare
from ...core.device import pinned_threads
from ...run.attach import attach
from ...spec.config import RunConfig
from ..measuring import claim_ratio
from ..peers import PresetArms
from ..recording import run_suite
from ..suite import ArmFigures, Claim, SuiteResult
from ..whole_runs import TimedRun, run_ours, run_peft

QUESTIONS, SEEDS, THREADS = 500, 8, 1
# ours, peft's, and the most of its time that ours may take
BOUNDS = [("lora", "peft lora", 0.72), ("antipasto", "peft psoft", 0.58)]
SETTINGS = {
    "eval.limit": QUESTIONS,
    "eval.valid": "none",
    "eval.general": "none",
    "eval.batch_size": "auto",
    "costs": False,
    "threads": THREADS,
}


def seconds_to_merge(preset: PresetArms, run: RunConfig) -> list[float]:
    """Seconds to merge and unmerge, once per seed."""
    model = preset.model(run)
    attach(run, model, preset.tokenizer, preset.examples)
    spent = []
    for _ in range(SEEDS):
        start = time.perf_counter()
        antipasto.unmerge(antipasto.merge(model))
        spent.append(time.perf_counter() - start)
    return spent


def measure() -> SuiteResult:
    with pinned_threads(THREADS):
        return _measured()


def _measured() -> SuiteResult:
    preset = PresetArms("nano", **SETTINGS)
    peft_way = partial(run_peft, "nano", SETTINGS)
    arms: dict[str, Callable[[int], TimedRun]] = {
        "lora": lambda seed: run_ours(preset.config("lora", seed=seed)),
        "peft lora": lambda seed: peft_way(preset.config("lora", seed=seed), "lora", 16),
        "antipasto": lambda seed: run_ours(preset.config("antipasto", seed=seed)),
        "peft psoft": lambda seed: peft_way(preset.config("lora", seed=seed), "psoft", 64),
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    phases: dict[str, list[float]] = {}
    right: dict[str, list[list[bool]]] = {name: [] for name in arms}
    run_ours(preset.config("lora", steps=2))  # imports what is imported late
    for seed in range(SEEDS):
        for name in list(arms)[:: 1 if seed % 2 == 0 else -1]:
            timed = arms[name](seed)
            times[name].append(timed.seconds)
            right[name].append(timed.right)
            for phase, seconds in timed.phases.items():
                phases.setdefault(f"{name}, {phase}", []).append(seconds)
            percent = 100 * sum(timed.right) / QUESTIONS
            print(f"{name}, seed {seed}: {timed.seconds:.1f} s, {percent:.1f} % right", flush=True)
    merging = seconds_to_merge(preset, preset.config("antipasto"))
    cells = [ArmFigures(name, "s", values) for name, values in (times | phases).items()]
    cells.append(ArmFigures("antipasto, merge and unmerge", "s", merging))
    share = median(merging) / median(times["antipasto"])
    claims = [Claim("antipasto: merge and unmerge / run", share, 0.01)]
    for a, b, bound in BOUNDS:
        claims.append(claim_ratio(times, a, b, bound))
        accuracy = compare(right[a], right[b])
        claims.append(Claim(f"points that {a} loses to {b} for sure (97.5 %)", -100 * accuracy.high, 0.0))
        interval = [100 * value for value in (accuracy.low, accuracy.difference, accuracy.high)]
        cells.append(ArmFigures(f"{a} less {b}, with its 95 % interval", "points", interval))
    percents = {name: [100 * sum(hits) / QUESTIONS for hits in of_seeds] for name, of_seeds in right.items()}
    cells += [ArmFigures(f"{name}, right", "%", values) for name, values in percents.items()]
    run = preset.config("lora")
    setting = (
        f"nano, one thread, {run.steps} steps of {run.batch_size}, {QUESTIONS} questions and the loss of their "
        f"reference solutions, seeds 0 to {SEEDS - 1}."
    )
    answers = {name: ["".join("01"[hit] for hit in hits) for hits in of_seeds] for name, of_seeds in right.items()}
    return SuiteResult(setting, cells, claims, {"right": answers})


if __name__ == "__main__":
    sys.exit(run_suite("run", measure))
