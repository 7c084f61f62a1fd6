"""A whole nano run, 300 steps of 16 and 500 questions: ours, and the same run made peft's way.

Peft's way: the method in peft's model wrapper, trained by the loop of peft's own comparison on the same examples in
buckets of 20 batches, scored unmerged by `generate` in batches of 50.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import peft
import polars as pl
from peers import PEERS, Bench, linear_targets, peft_step
from questions import Questions, generate_answers, right

from antipasto_bench.bases import Bases
from antipasto_bench.config import RunConfig
from antipasto_bench.data import Example
from antipasto_bench.paths import Store
from antipasto_bench.progress import Progress
from antipasto_bench.run import execute
from antipasto_bench.speed import Cell, Claim, ratio, record
from antipasto_bench.stats import compare

QUESTIONS, TURNS = 500, 2
GIVEN = {"eval.limit": QUESTIONS, "eval.valid": "none", "eval.general": "none", "costs": False}


def in_buckets(examples: list[Example], size: int, factor: int = 20) -> Iterator[list[Example]]:
    """Batches of like length, out of buckets of `factor` batches."""
    rng = Random(0)
    for start in range(0, len(examples), size * factor):
        bucket = sorted(examples[start : start + size * factor], key=lambda example: len(example.ids))
        batches = [bucket[i : i + size] for i in range(0, len(bucket), size)]
        rng.shuffle(batches)
        yield from batches


def ours(run: RunConfig) -> tuple[float, list[bool], dict[str, float]]:
    """Seconds of a run, what it got right, and its phases; nothing is loaded before it begins."""
    with tempfile.TemporaryDirectory() as home:
        store = Store(Path(home, "results"), Path(home, "outputs"))
        start = time.perf_counter()
        row = execute(run, store, Progress(quiet=True), bases=Bases()).row
        spent = time.perf_counter() - start
        assert row is not None
        items = pl.read_parquet(store.items(run.run_id)).filter(filter="flexible-extract").sort("doc_id")
    phases = {name: row[f"{name}_s"] for name in ("load", "attach", "train", "eval")}
    return spent, [score == 1 for score in items["score"]], phases


def peers(run: RunConfig, name: str, r: int) -> tuple[float, list[bool], dict[str, float]]:
    """The same by peft."""
    start = time.perf_counter()
    bench = Bench("nano", **GIVEN)
    model = bench.model(run)
    model = peft.get_peft_model(model, PEERS[name](r, linear_targets(model))).train()
    batches = in_buckets(bench.examples, run.batch_size)
    step = peft_step(model, bench.tokenizer, lambda: next(batches), run.steps, run.lr)
    begun = time.perf_counter()
    for _ in range(run.steps):
        step()
    trained = time.perf_counter()
    questions = Questions(run, bench.tokenizer, QUESTIONS)
    scores = right(generate_answers(model.eval(), bench.tokenizer, questions, 50), questions)
    end = time.perf_counter()
    return end - start, scores, {"load": begun - start, "train": trained - begun, "eval": end - trained}


def main() -> int:
    bench = Bench("nano", **GIVEN)
    lora, antipasto = bench.run("lora"), bench.run("antipasto")
    arms: dict[str, Callable[[], tuple[float, list[bool], dict[str, float]]]] = {
        "lora": lambda: ours(lora),
        "peft lora": lambda: peers(lora, "lora", 16),
        "antipasto": lambda: ours(antipasto),
        "peft psoft": lambda: peers(lora, "psoft", 64),
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    phases: dict[str, list[float]] = {}
    scores: dict[str, list[bool]] = {}
    for turn in range(TURNS):
        for name in list(arms)[:: 1 if turn % 2 == 0 else -1]:
            spent, scores[name], parts = arms[name]()
            times[name].append(spent)
            for part, seconds in parts.items():
                phases.setdefault(f"{name}, {part}", []).append(seconds)
            print(f"{name}: {spent:.1f} s, {100 * sum(scores[name]) / QUESTIONS:.1f} % right", flush=True)
    found = compare([scores["lora"]], [scores["peft lora"]])
    claims = [
        Claim("lora / peft lora", ratio(times, "lora", "peft lora"), 0.80),
        Claim("antipasto / peft psoft", ratio(times, "antipasto", "peft psoft"), 0.75),
        Claim("points that lora surely (95 %) loses to peft lora", -100 * found.high, 0.0),
    ]
    cells = [Cell(name, "s", values) for name, values in (times | phases).items()]
    cells += [Cell(f"{name}, right", "%", [100 * sum(hits) / QUESTIONS]) for name, hits in scores.items()]
    setting = f"nano, {lora.steps} steps of {lora.batch_size}, {QUESTIONS} questions, one seed."
    return record("run", setting, cells, claims)


if __name__ == "__main__":
    sys.exit(main())
