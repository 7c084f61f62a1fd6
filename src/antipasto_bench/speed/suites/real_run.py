"""A whole run of SmolLM2-135M in bfloat16 on one thread, with GSM8K's questions and held-out loss: ours, and the same
run made peft's way.

    antipasto-bench speed --suite real_run eval.data=PATH data.train=PATH
    antipasto-bench speed --suite real_run eval.data=PATH data.train=PATH steps=25 eval.limit=50    # a quarter of it
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...core.device import pinned_threads
from ..measuring import claim_ratio
from ..peers import DOWN_PROJ, FROZEN_RANK, RANK, PresetArms
from ..recording import run_suite
from ..suite import ArmFigures, SuiteResult
from ..whole_runs import TimedRun, run_ours, run_peft

PRESET = "smollm2-135m"
TURNS = 1
# ours, peft's, and the most of its time that ours may take
BOUNDS = [("lora", "peft lora", 0.60), ("antipasto", "peft psoft", 0.55)]
RATES = {"lora": 3e-3, "antipasto": 3e-2}
SETTINGS = {
    "steps": 100,
    "batch_size": 8,
    "eval.limit": 200,
    "eval.max_new_tokens": 256,
    "eval.batch_size": "auto",
    "eval.valid": "none",
    "eval.general": "none",
    "costs": False,
    "threads": 1,
}


def measure(settings: Mapping[str, Any] | None = None) -> Iterator[SuiteResult]:
    """All that is measured so far, after each pair of runs."""
    with pinned_threads(1):
        yield from _measured(SETTINGS | dict(settings or {}))


def _measured(settings: Mapping[str, Any]) -> Iterator[SuiteResult]:
    preset = PresetArms(PRESET, **settings)

    def peft_way(method: str, r: int, seed: int) -> TimedRun:
        run = preset.config("lora", lr=RATES["lora"], seed=seed)
        return run_peft(PRESET, settings, run, method, r, DOWN_PROJ)

    arms: dict[str, Callable[[int], TimedRun]] = {
        "lora": lambda seed: run_ours(preset.config("lora", lr=RATES["lora"], seed=seed)),
        "peft lora": lambda seed: peft_way("lora", RANK, seed),
        "antipasto": lambda seed: run_ours(preset.config("antipasto", lr=RATES["antipasto"], seed=seed)),
        "peft psoft": lambda seed: peft_way("psoft", FROZEN_RANK, seed),
    }
    run = preset.config("lora")
    setting = (
        f"SmolLM2-135M, bfloat16, one thread, {run.steps} steps of {run.batch_size}, {run.eval.limit} questions of "
        f"GSM8K of {run.eval.max_new_tokens} new tokens at most, and the loss of their reference solutions; {TURNS} "
        "run of each. Peft's loss is of every token, ours of completions, as each trains. Psoft has lora's rate, which "
        "was not tuned for it, so that the length of its answers is not the method's."
    )
    run_ours(preset.config("lora", steps=2, **{"eval.limit": 2}))  # imports what is imported late
    times: dict[str, list[float]] = {name: [] for name in arms}
    phases: dict[str, list[float]] = {}
    for turn in range(TURNS):
        for ours, theirs, _ in BOUNDS:
            for name in (ours, theirs)[:: 1 if turn % 2 == 0 else -1]:
                timed = arms[name](turn)
                times[name].append(timed.seconds)
                for phase, seconds in timed.phases.items():
                    phases.setdefault(f"{name}, {phase}", []).append(seconds)
                print(f"{name}, turn {turn}: {timed.seconds:.0f} s", flush=True)
            done = {name: values for name, values in times.items() if values}
            cells = [ArmFigures(name, "s", values) for name, values in (done | phases).items()]
            pairs = [pair for pair in BOUNDS if times[pair[0]] and len(times[pair[0]]) == len(times[pair[1]])]
            yield SuiteResult(setting, cells, [claim_ratio(times, a, b, bound) for a, b, bound in pairs])


if __name__ == "__main__":
    sys.exit(run_suite("real_run", measure))
