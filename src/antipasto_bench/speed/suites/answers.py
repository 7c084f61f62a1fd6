"""Answers of a real model: GSM8K questions of SmolLM2-135M in bfloat16 on one thread, ours and lm-eval's own `hf`.

    antipasto-bench speed --suite answers eval.data=PATH data.train=PATH

Both are asked through lm-eval's evaluator, about the same model object, which is untuned; `answers_tuned.py` asks a
tuned one. lm-eval's batch is the fastest of SIZES. In float32 each of our answers must be lm-eval's own of one question
at a time.
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
from ...run.evaluate import Evaluation
from ...run.generate import Scorer
from ...run.tasks import quiet
from ..measuring import claim_ratio
from ..peers import PresetArms
from ..recording import run_suite
from ..suite import ArmFigures, Claim, SuiteResult

PRESET = "smollm2-135m"
QUESTIONS, NEW_TOKENS, PAIRS = 128, 256, 3
SIZES = (128, 64, 32, 16, 8, 1)  # of lm-eval's batches
LATE = 1.1  # times the best size's seconds: another size is given up then
RATE = 3e-3
BOUND = 0.35


@dataclass(frozen=True)
class Answered:
    """Seconds for all questions, and the answers in their order."""

    seconds: float
    answers: list[str]


class OutOfTimeError(Exception):
    """lm-eval's answers take longer than is worth knowing."""


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
            OutOfTimeError: they take more than so many seconds.
        """
        lm = HFLM(pretrained=model, tokenizer=self.preset.tokenizer, batch_size=batch_size, trust_remote_code=False)
        ends = time.perf_counter() + seconds

        def look_at_the_clock(*_: Any) -> None:
            if time.perf_counter() > ends:
                raise OutOfTimeError

        handle = model.register_forward_pre_hook(look_at_the_clock)
        try:
            return self._asked(lm)
        finally:
            handle.remove()

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
        yield from measured("untuned", untuned, BOUND, settings or {}, exact=True)


def measured(
    name: str,
    build: Callable[[PresetArms], Any],
    bound: float,
    settings: Mapping[str, Any],
    text: str = "",
    *,
    exact: bool = False,
) -> Iterator[SuiteResult]:
    """As `measure`, of a model.

    Args:
        bound: of the seconds of our answers by lm-eval's.
        text: what the page says of the model beside its name, as a sentence.
        exact: also compare the untuned model's answers in float32.
    """
    fixed = {"eval.limit": QUESTIONS, "eval.max_new_tokens": NEW_TOKENS, "eval.batch_size": "auto"}
    fixed |= {"eval.valid": "none", "eval.general": "none"}
    preset = PresetArms(PRESET, **fixed | dict(settings))
    answerers = Answerers(preset)
    cells: list[ArmFigures] = []
    claims: list[Claim] = []

    def so_far() -> SuiteResult:
        setting = (
            f"SmolLM2-135M, bfloat16, one thread, {QUESTIONS} questions of GSM8K, {NEW_TOKENS} new tokens at most."
            f"{text} Sizes of lm-eval's batch that were tried: {', '.join(map(str, SIZES))}; one that took over {LATE} "
            "times as long as the best so far was given up."
        )
        return SuiteResult(setting, [*cells], [*claims])

    model = build(preset).eval()
    answerers.ours(model)  # what is loaded late, and the memory of the longest cache
    best, tried = _best_size(answerers, model, name)
    cells += tried
    yield so_far()
    turns: dict[str, list[Answered]] = {"ours": [], "lm-eval": []}
    ways: dict[str, Callable[[Any], Answered]]
    ways = {"ours": answerers.ours, "lm-eval": partial(answerers.theirs, batch_size=best)}
    for turn in range(PAIRS):
        for way in [*ways][:: 1 if turn % 2 == 0 else -1]:
            turns[way].append(ways[way](model))
    times = {way: [answered.seconds for answered in taken] for way, taken in turns.items()}
    cells += [ArmFigures(f"{name}, {way}", "s", seconds) for way, seconds in times.items()]
    for way, taken in turns.items():  # in bfloat16 an answer depends on its batch, and so does its length
        lengths = [float(len(preset.tokenizer(answer)["input_ids"])) for answer in taken[-1].answers]
        cells.append(ArmFigures(f"{name}, {way}, tokens of all answers", "", [sum(lengths)]))
    claims.append(
        claim_ratio(times, "ours", "lm-eval", bound, f"{name}: ours / lm-eval's hf at its best batch, {best}")
    )
    yield so_far()
    if exact:
        claims.append(_inexact(answerers, PresetArms(PRESET, **fixed | dict(settings) | {"dtype": "float32"})))
        yield so_far()


def _inexact(answerers: Answerers, preset: PresetArms) -> Claim:
    """That no answer in float32 is another than lm-eval's."""
    model = untuned(preset).eval()
    pairs = zip(answerers.ours(model).answers, answerers.theirs(model, 1).answers, strict=True)
    differing = sum(mine != other for mine, other in pairs)
    return Claim("float32, untuned: answers that are not lm-eval's of one question at a time", differing, 0)


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


if __name__ == "__main__":
    sys.exit(run_suite("answers", measure))
