"""Answers of a real model: GSM8K questions of SmolLM2-135M in bfloat16 on one thread, ours and lm-eval's own `hf`.

    antipasto-bench speed --suite answers eval.data=PATH data.train=PATH

Both are asked through lm-eval's evaluator, about the same model object: untuned, and with a lora that was trained for
a while, whose answers are longer. lm-eval's batch is the fastest of SIZES. In float32 each of our answers must be
lm-eval's own of one question at a time.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM

from ...core.device import pinned_threads
from ...run.attach import attach
from ...run.evaluate import Evaluation
from ...run.examples import collate
from ...run.generate import Scorer
from ...run.tasks import quiet
from ..measuring import claim_ratio
from ..peers import PresetArms, our_step
from ..recording import run_suite
from ..suite import ArmFigures, Claim, SuiteResult

PRESET = "smollm2-135m"
QUESTIONS, NEW_TOKENS, PAIRS = 128, 256, 3
SIZES = (128, 64, 32, 16, 8, 1)  # of lm-eval's batches
LATE = 1.25  # times the best size's seconds: no batch of another size is begun after that
STEPS, BATCH, RATE = 40, 8, 3e-3  # that train the lora
BOUNDS = {"untuned": 0.35, "lora": 0.50}


@dataclass(frozen=True)
class Answered:
    """Seconds for all questions, and the answers in their order."""

    seconds: float
    answers: list[str]


class OutOfTimeError(Exception):
    """lm-eval's answers take longer than is worth knowing."""


class Peer(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's own model, given up at a time of `time.perf_counter`."""

    ends = float("inf")

    def _model_generate(self, *arguments: Any, **options: Any) -> Any:
        if time.perf_counter() > self.ends:
            raise OutOfTimeError
        return super()._model_generate(*arguments, **options)


class Answerers:
    """The ways to answer the same questions."""

    def __init__(self, preset: PresetArms) -> None:
        run = preset.config("lora", lr=RATE)
        self.preset, self.eval = preset, run.eval
        self.tasks = {task.task_name: task for task in Evaluation(run.eval, None).test}

    def ours(self, model: Any) -> Answered:
        return self._asked(Scorer(model, self.preset.tokenizer, self.eval))

    def theirs(self, model: Any, batch_size: int, seconds: float = float("inf")) -> Answered:
        """
        Raises:
            OutOfTimeError: a batch is to begin after so many seconds.
        """
        lm = Peer(pretrained=model, tokenizer=self.preset.tokenizer, batch_size=batch_size, trust_remote_code=False)
        lm.ends = time.perf_counter() + seconds
        return self._asked(lm)

    def _asked(self, lm: Any) -> Answered:
        lm.generate_until = partial(lm.generate_until, disable_tqdm=True)
        start = time.perf_counter()
        with quiet():
            results: Any = evaluate(lm, self.tasks, limit=QUESTIONS, bootstrap_iters=0)
        seconds = time.perf_counter() - start
        logged = next(iter(results["samples"].values()))
        answers = {sample["doc_id"]: sample["resps"][0][0] for sample in logged}
        return Answered(seconds, [answers[place] for place in sorted(answers)])


def measure(settings: Mapping[str, Any] | None = None) -> Iterator[SuiteResult]:
    """All that is measured so far, after each way and each pair."""
    with pinned_threads(1):
        yield from _measured(settings or {})


def _measured(settings: Mapping[str, Any]) -> Iterator[SuiteResult]:
    fixed = {"eval.limit": QUESTIONS, "eval.max_new_tokens": NEW_TOKENS, "eval.batch_size": "auto"}
    fixed |= {"eval.valid": "none", "eval.general": "none"}
    preset = PresetArms(PRESET, **fixed | dict(settings))
    answerers = Answerers(preset)
    cells: list[ArmFigures] = []
    claims: list[Claim] = []

    def so_far() -> SuiteResult:
        setting = (
            f"SmolLM2-135M, bfloat16, one thread, {QUESTIONS} questions of GSM8K, {NEW_TOKENS} new tokens at most; "
            f"lora: {STEPS} steps of {BATCH}, not merged. Sizes of lm-eval's batch that were tried: "
            f"{', '.join(map(str, SIZES))}; one that took over {LATE} times as long as the best so far was given up."
        )
        return SuiteResult(setting, [*cells], [*claims])

    for name, build in {"untuned": untuned, "lora": trained_lora}.items():
        model = build(preset).eval()
        answerers.ours(model)  # what is loaded late, and the memory of the longest cache
        best, tried = _best_size(answerers, model, name)
        cells += tried
        yield so_far()
        turns: dict[str, list[Answered]] = {"ours": [], "lm-eval": []}
        for turn in range(PAIRS):
            ways: dict[str, Callable[[Any], Answered]]
            ways = {"ours": answerers.ours, "lm-eval": partial(answerers.theirs, batch_size=best)}
            for way in [*ways][:: 1 if turn % 2 == 0 else -1]:
                turns[way].append(ways[way](model))
        times = {way: [answered.seconds for answered in taken] for way, taken in turns.items()}
        cells += [ArmFigures(f"{name}, {way}", "s", seconds) for way, seconds in times.items()]
        for way, taken in turns.items():  # in bfloat16 an answer depends on its batch, and so does its length
            lengths = [float(len(preset.tokenizer(answer)["input_ids"])) for answer in taken[-1].answers]
            cells.append(ArmFigures(f"{name}, {way}, tokens of all answers", "", [sum(lengths)]))
        what = f"{name}: ours / lm-eval's hf at its best batch, {best}"
        claims.append(claim_ratio(times, "ours", "lm-eval", BOUNDS[name], what))
        yield so_far()
    exact = PresetArms(PRESET, **fixed | dict(settings) | {"dtype": "float32"})
    model = untuned(exact).eval()
    pairs = zip(answerers.ours(model).answers, answerers.theirs(model, 1).answers, strict=True)
    differing = sum(mine != other for mine, other in pairs)
    claims.append(Claim("float32, untuned: answers that are not lm-eval's of one question at a time", differing, 0))
    yield so_far()


def _best_size(answerers: Answerers, model: Any, name: str) -> tuple[int, list[ArmFigures]]:
    """The batch size at which lm-eval answers fastest, and the seconds of each that was not given up."""
    seconds: dict[int, float] = {}
    for size in SIZES:
        try:
            seconds[size] = answerers.theirs(model, size, LATE * min(seconds.values(), default=float("inf"))).seconds
        except OutOfTimeError:
            continue
    cells = [ArmFigures(f"{name}, lm-eval, {size} a batch", "s", [value]) for size, value in seconds.items()]
    return min(seconds, key=lambda size: seconds[size]), cells


def untuned(preset: PresetArms) -> Any:
    return preset.model(preset.config("lora", lr=RATE))


def trained_lora(preset: PresetArms) -> Any:
    """The model with a lora in its hooks, trained for STEPS steps."""
    run = preset.config("lora", lr=RATE)
    model = preset.model(run)
    attach(run, model, preset.tokenizer, preset.examples)
    batches = (preset.examples[first : first + BATCH] for first in range(0, STEPS * BATCH, BATCH))
    drawn = (collate(batch, preset.tokenizer.pad_token_id) for batch in batches)
    step = our_step(model, run, lambda: next(drawn))
    for _ in range(STEPS):
        step()
    return model


if __name__ == "__main__":
    sys.exit(run_suite("answers", measure))
