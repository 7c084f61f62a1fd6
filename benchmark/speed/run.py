"""A whole nano run, 300 steps of 16 and 500 questions: ours, and the same run made peft's way; over several seeds.

Peft's way: the method in peft's model wrapper, trained by the loop of peft's own comparison on the same examples in
buckets of 20 batches, scored unmerged by `generate` in batches of 50. Psoft has lora's learning rate, which nobody
chose for it: what it gets right says nothing of the method. Whether accuracy is lost is asked question by question,
with the seeds as what varies (antipasto_bench.analysis.stats.compare); every answer is kept, 1 where it is right.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from statistics import median

import peft
import polars as pl
import torch
from peers import PEERS, Bench, linear_targets, padded, peft_step
from questions import Questions, generate_answers, right

import antipasto
from antipasto_bench.analysis.stats import compare
from antipasto_bench.run.attach import attach
from antipasto_bench.run.examples import Example
from antipasto_bench.run.execute import execute
from antipasto_bench.run.model_cache import Bases
from antipasto_bench.run.progress import Progress
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.speed.harness import Cell, Claim, by_turns, record
from antipasto_bench.store.folders import Store

QUESTIONS, SEEDS = 500, 8
# ours, peft's, and the most of its time that ours may take
AGAINST = [("lora", "peft lora", 0.80), ("antipasto", "peft psoft", 0.75)]
GIVEN = {
    "eval.limit": QUESTIONS,
    "eval.valid": "none",
    "eval.general": "none",
    "eval.batch_size": "auto",
    "costs": False,
}


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
    bench = Bench("nano", **GIVEN, seed=run.seed)
    model, _ = bench.bases.model(run)
    torch.manual_seed(run.seed)  # of which peft draws an adapter's first values
    model = peft.get_peft_model(model, PEERS[name](r, linear_targets(model)))
    batches = in_buckets(bench.examples, run.batch_size)
    step = peft_step(model, lambda: padded(bench.tokenizer, next(batches)), run.steps, run.lr)
    begun = time.perf_counter()
    for _ in range(run.steps):
        step()
    trained = time.perf_counter()
    questions = Questions(run, bench.tokenizer, QUESTIONS)
    scores = right(generate_answers(model.eval(), bench.tokenizer, questions, 50), questions)
    end = time.perf_counter()
    return end - start, scores, {"load": begun - start, "train": trained - begun, "eval": end - trained}


def merging(bench: Bench, run: RunConfig) -> list[float]:
    """Seconds of merging and unmerging, as often as there are seeds."""
    model = bench.model(run)
    attach(run, model, bench.tokenizer, bench.examples)
    spent = []
    for _ in range(SEEDS):
        start = time.perf_counter()
        antipasto.unmerge(antipasto.merge(model))
        spent.append(time.perf_counter() - start)
    return spent


def main() -> int:
    bench = Bench("nano", **GIVEN)
    arms: dict[str, Callable[[int], tuple[float, list[bool], dict[str, float]]]] = {
        "lora": lambda seed: ours(bench.run("lora", seed=seed)),
        "peft lora": lambda seed: peers(bench.run("lora", seed=seed), "lora", 16),
        "antipasto": lambda seed: ours(bench.run("antipasto", seed=seed)),
        "peft psoft": lambda seed: peers(bench.run("lora", seed=seed), "psoft", 64),
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    phases: dict[str, list[float]] = {}
    scores: dict[str, list[list[bool]]] = {name: [] for name in arms}
    ours(bench.run("lora", steps=2))  # whatever is imported late
    for seed in range(SEEDS):
        for name in list(arms)[:: 1 if seed % 2 == 0 else -1]:
            spent, hits, parts = arms[name](seed)
            times[name].append(spent)
            scores[name].append(hits)
            for part, seconds in parts.items():
                phases.setdefault(f"{name}, {part}", []).append(seconds)
            print(f"{name}, seed {seed}: {spent:.1f} s, {100 * sum(hits) / QUESTIONS:.1f} % right", flush=True)
    merged = merging(bench, bench.run("antipasto"))
    cells = [Cell(name, "s", values) for name, values in (times | phases).items()]
    cells.append(Cell("antipasto, merge and unmerge", "s", merged))
    share = median(merged) / median(times["antipasto"])
    claims = [Claim("antipasto: merge and unmerge / run", share, 0.01)]
    for a, b, bound in AGAINST:
        claims.append(by_turns(times, a, b, bound))
        found = compare(scores[a], scores[b])
        claims.append(Claim(f"points that {a} loses to {b} for sure (97.5 %)", -100 * found.high, 0.0))
        interval = [100 * value for value in (found.low, found.difference, found.high)]
        cells.append(Cell(f"{a} less {b}, with its 95 % interval", "points", interval))
    shares = {name: [100 * sum(hits) / QUESTIONS for hits in of_seeds] for name, of_seeds in scores.items()}
    cells += [Cell(f"{name}, right", "%", values) for name, values in shares.items()]
    run = bench.run("lora")
    setting = f"nano, {run.steps} steps of {run.batch_size}, {QUESTIONS} questions, seeds 0 to {SEEDS - 1}."
    kept = {name: ["".join("01"[hit] for hit in hits) for hits in of_seeds] for name, of_seeds in scores.items()}
    return record("run", setting, cells, claims, right=kept)


if __name__ == "__main__":
    sys.exit(main())
