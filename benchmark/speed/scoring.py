"""Scoring nano's test questions through lm-eval: the base, an adapter folded in, an adapter in its hooks; by every
backend that needs no GPU; and without lm-eval, batch by batch as `generate` is usually called."""

import sys
from collections.abc import Callable
from typing import Any

from peers import Bench
from questions import Questions, generate_answers

import antipasto
from antipasto_bench.run.attach import attach
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.speed.harness import Cell, duel, in_turns, record

QUESTIONS, TURNS, DUEL_TURNS = 300, 5, 21


def main() -> int:
    bench = Bench("nano", **{"eval.limit": QUESTIONS, "eval.valid": "none"})
    run = bench.run("antipasto", rotate_basis="none", lr=1e-9)
    models = {name: bench.model(run).eval() for name in ("base", "hooked", "merged")}
    for name in ("hooked", "merged"):
        attach(run, models[name], bench.tokenizer, bench.examples)
        # An adapter that changes nothing yet: all three give the same answers, of the same length.
        for tensor in antipasto.trainable_parameters(models[name]).values():
            tensor.data.zero_()
    antipasto.merge(models["merged"])

    def scored(model: Any, **given: Any) -> Callable[[], Any]:
        evaluation = Evaluation(run.eval.model_copy(update=given), None)
        return lambda: evaluation.run(model, bench.tokenizer, "test")

    arms = {name: scored(model) for name, model in models.items()}
    arms["base, batch_size=auto"] = scored(models["base"], batch_size="auto")
    for backend in ("static", "continuous"):
        arms[f"base, backend={backend}"] = scored(models["base"], backend=backend)
    questions = Questions(run, bench.tokenizer, QUESTIONS)
    arms["generate loop, 50 a batch"] = lambda: generate_answers(models["base"], bench.tokenizer, questions, 50)
    times = in_turns(arms, TURNS, warm_up=1)
    claims = [
        duel(arms["merged"], arms["base"], DUEL_TURNS, 1.03, "merged / base"),
        duel(arms["base, batch_size=auto"], arms["generate loop, 50 a batch"], DUEL_TURNS, 1.0, "ours / generate loop"),
    ]
    cells = [Cell(name, "questions/s", [1e3 * QUESTIONS / ms for ms in values]) for name, values in times.items()]
    size = run.eval.batch_size
    setting = f"nano, {QUESTIONS} questions, {size} a batch but where said, an adapter that changes nothing."
    return record("scoring", setting, cells, claims)


if __name__ == "__main__":
    sys.exit(main())
