"""Scoring nano's test questions through lm-eval: the base, a merged adapter, an adapter in its hooks; by every backend
that needs no GPU; and without lm-eval, batch by batch with `generate`."""

import sys
from collections.abc import Callable
from typing import Any

import antipasto

from ...run.attach import attach
from ...run.evaluate import Evaluation
from ..measuring import compare_arms, time_arms
from ..peers import PresetArms
from ..questions import Questions, generate_answers
from ..recording import run_suite
from ..suite import ArmFigures, SuiteResult

QUESTIONS, TURNS, PAIR_TURNS = 300, 5, 21


def measure() -> SuiteResult:
    preset = PresetArms("nano", **{"eval.limit": QUESTIONS, "eval.valid": "none"})
    run = preset.config("antipasto", rotate_basis="none", lr=1e-9)
    models = {name: preset.model(run).eval() for name in ("base", "hooked", "merged")}
    for name in ("hooked", "merged"):
        attach(run, models[name], preset.tokenizer, preset.examples)
        # With zeros the adapter changes nothing: all three models give the same answers, of the same length.
        for tensor in antipasto.trainable_parameters(models[name]).values():
            tensor.data.zero_()
    antipasto.merge(models["merged"])

    def score(model: Any, **settings: Any) -> Callable[[], Any]:
        evaluation = Evaluation(run.eval.model_copy(update=settings), None)
        return lambda: evaluation.run(model, preset.tokenizer, "test")

    arms = {name: score(model) for name, model in models.items()}
    arms["base, batch_size=auto"] = score(models["base"], batch_size="auto")
    for backend in ("static", "continuous"):
        arms[f"base, backend={backend}"] = score(models["base"], backend=backend)
    questions = Questions(run, QUESTIONS)
    loop = "generate loop, 50 a batch"
    arms[loop] = lambda: generate_answers(models["base"], preset.tokenizer, questions, 50)
    times = time_arms(arms, TURNS, warm_up=1)
    claims = [
        compare_arms(arms["merged"], arms["base"], PAIR_TURNS, 1.03, "merged / base"),
        compare_arms(arms["base, batch_size=auto"], arms[loop], PAIR_TURNS, 1.0, "ours / generate loop"),
    ]
    cells = [ArmFigures(name, "questions/s", [1e3 * QUESTIONS / ms for ms in values]) for name, values in times.items()]
    size = run.eval.batch_size
    setting = f"nano, {QUESTIONS} questions, {size} a batch but where said, an adapter that changes nothing."
    return SuiteResult(setting, cells, claims)


if __name__ == "__main__":
    sys.exit(run_suite("scoring", measure))
