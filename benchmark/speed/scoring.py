"""Scoring nano's test questions through lm-eval: the base, an adapter folded in, an adapter in its hooks; and without
lm-eval, batch by batch as `generate` is usually called."""

import sys
import time

from peers import Bench
from questions import Questions, generate_answers

import antipasto
from antipasto_bench.attach import attach
from antipasto_bench.evaluate import Evaluation
from antipasto_bench.speed import Cell, Claim, in_turns, ratio, record

QUESTIONS, TURNS = 200, 5


def main() -> int:
    bench = Bench("nano", **{"eval.limit": QUESTIONS, "eval.valid": "none"})
    run = bench.run("antipasto", rotate_basis="none", lr=1e-9)
    evaluation = Evaluation(run.eval, None)
    models = {name: bench.model(run).eval() for name in ("base", "hooked", "merged")}
    for name in ("hooked", "merged"):
        attach(run, models[name], bench.tokenizer, bench.examples)
        # An adapter that changes nothing yet: all three give the same answers, of the same length.
        for tensor in antipasto.trainable_parameters(models[name]).values():
            tensor.data.zero_()
    merging = time.perf_counter()
    antipasto.merge(models["merged"])
    antipasto.unmerge(models["merged"])
    merging = time.perf_counter() - merging
    antipasto.merge(models["merged"])
    questions = Questions(run, bench.tokenizer, QUESTIONS)
    arms = {name: lambda model=model: evaluation.run(model, bench.tokenizer, "test") for name, model in models.items()}
    arms["generate loop, 50 a batch"] = lambda: generate_answers(models["base"], bench.tokenizer, questions, 50)
    times = in_turns(arms, TURNS, warm_up=1)
    claims = [Claim("merged / base", ratio(times, "merged", "base"), 1.03)]
    cells = [Cell(name, "questions/s", [1e3 * QUESTIONS / ms for ms in values]) for name, values in times.items()]
    cells.append(Cell("merge and unmerge", "s", [merging]))
    setting = f"nano, {QUESTIONS} questions, {run.eval.batch_size} a batch in lm-eval, an adapter that changes nothing."
    return record("scoring", setting, cells, claims)


if __name__ == "__main__":
    sys.exit(main())
