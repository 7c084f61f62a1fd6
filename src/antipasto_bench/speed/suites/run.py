"""A whole nano run, 300 steps of 16 and 500 questions: ours, and the same run made peft's way; over several seeds.

Peft's way: the method in peft's model wrapper, trained by the loop of peft's own comparison on the same examples in
buckets of 20 batches, scored unmerged by `generate` in batches of 50. Psoft runs at lora's learning rate, which was not
tuned for it: its accuracy says nothing of the method. Whether accuracy is lost is tested question by question, with the
seeds as what varies (antipasto_bench.analysis.stats.compare); the record holds every answer, 1 where it is right.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

import torch

import antipasto

from ...analysis.stats import compare
from ...run.attach import attach
from ...run.context import RunContext
from ...run.examples import Example
from ...run.execute import execute
from ...run.progress import Progress
from ...spec.config import RunConfig
from ...store.folders import Store
from ...store.items import headline_scores, items_of
from ..measuring import claim_ratio
from ..peers import PEFT_CONFIGS, PresetArms, linear_layers, pad_as_peft, peft_step, wrap_in_peft
from ..questions import Questions, generate_answers, score_answers
from ..recording import run_suite
from ..suite import ArmFigures, Claim, SuiteResult

QUESTIONS, SEEDS = 500, 8
# ours, peft's, and the most of its time that ours may take
BOUNDS = [("lora", "peft lora", 0.80), ("antipasto", "peft psoft", 0.75)]
SETTINGS = {
    "eval.limit": QUESTIONS,
    "eval.valid": "none",
    "eval.general": "none",
    "eval.batch_size": "auto",
    "costs": False,
}


@dataclass(frozen=True)
class TimedRun:
    """A run's seconds, whether each question was answered right, and the seconds of its phases."""

    seconds: float
    right: list[bool]
    phases: dict[str, float]


def run_ours(run: RunConfig) -> TimedRun:
    """A run as a user makes it; nothing is loaded before it begins."""
    with tempfile.TemporaryDirectory() as home:
        store = Store(Path(home, "results"), Path(home, "outputs"))
        start = time.perf_counter()
        record = execute(run, RunContext(store, Progress(quiet=True))).record
        seconds = time.perf_counter() - start
        assert record is not None
        right = headline_scores(items_of(record, store, "test")).scores == 1
    phases = {name: float(getattr(record, f"{name}_s")) for name in ("load", "attach", "train", "eval")}
    return TimedRun(seconds, right.tolist(), phases)


def run_peft(run: RunConfig, method: str, r: int) -> TimedRun:
    """The same run by peft."""
    start = time.perf_counter()
    preset = PresetArms("nano", **SETTINGS, seed=run.seed)
    model, _ = preset.models.model(run)
    torch.manual_seed(run.seed)  # peft draws an adapter's first values from the global generator
    model = wrap_in_peft(model, PEFT_CONFIGS[method](r, linear_layers(model)))
    batches = length_buckets(preset.examples, run.batch_size)
    step = peft_step(model, lambda: pad_as_peft(preset.tokenizer, next(batches)), run.steps, run.lr)
    loaded = time.perf_counter()
    for _ in range(run.steps):
        step()
    trained = time.perf_counter()
    questions = Questions(run, QUESTIONS)
    right = score_answers(generate_answers(model.eval(), preset.tokenizer, questions, 50), questions)
    end = time.perf_counter()
    return TimedRun(end - start, right, {"load": loaded - start, "train": trained - loaded, "eval": end - trained})


def length_buckets(examples: list[Example], size: int, factor: int = 20) -> Iterator[list[Example]]:
    """Batches of `size` examples of like length, out of buckets of `factor` batches."""
    rng = Random(0)
    for start in range(0, len(examples), size * factor):
        bucket = sorted(examples[start : start + size * factor], key=lambda example: len(example.ids))
        batches = [bucket[i : i + size] for i in range(0, len(bucket), size)]
        rng.shuffle(batches)
        yield from batches


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
    preset = PresetArms("nano", **SETTINGS)
    arms: dict[str, Callable[[int], TimedRun]] = {
        "lora": lambda seed: run_ours(preset.config("lora", seed=seed)),
        "peft lora": lambda seed: run_peft(preset.config("lora", seed=seed), "lora", 16),
        "antipasto": lambda seed: run_ours(preset.config("antipasto", seed=seed)),
        "peft psoft": lambda seed: run_peft(preset.config("lora", seed=seed), "psoft", 64),
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
    setting = f"nano, {run.steps} steps of {run.batch_size}, {QUESTIONS} questions, seeds 0 to {SEEDS - 1}."
    answers = {name: ["".join("01"[hit] for hit in hits) for hits in of_seeds] for name, of_seeds in right.items()}
    return SuiteResult(setting, cells, claims, {"right": answers})


if __name__ == "__main__":
    sys.exit(run_suite("run", measure))
