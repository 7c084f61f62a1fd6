"""On a GPU, whole models of published shapes in bfloat16 with random weights: a step's time, plain and by CUDA graphs,
its peak memory, and GSM8K's number of questions answered.

    antipasto-bench speed --suite gpu
    antipasto-bench speed --suite gpu --minutes 5    # what comes first of it, where a GPU is paid by the minute
"""

import copy
import gc
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import Generator, Tensor

from ...nano import MODEL_DIR
from ...run.batch_size import rows_that_fit
from ...run.generate import Scorer
from ...spec.compose import compose
from ..measuring import claim_ratio, time_arms
from ..peers import BY_GRAPHS, FROZEN_RANK, RANK, VARIANT_BESIDE, TrainingStep, down_proj_arms
from ..recording import run_suite
from ..shapes import SHAPES, build_model, random_batch, unlike_batches
from ..suite import ArmFigures, Claim, SuiteResult

TURNS, REPEATS = 5, 4
BATCHES = {  # model, rows and tokens of a row; those of the claims first
    "Qwen3.5-0.8B": ("Qwen3.5-0.8B", 8, 256),
    "Qwen3.5-0.8B (2 x 192)": ("Qwen3.5-0.8B", 2, 192),  # about a micro-batch of preset lora-lite-qwen3.5-0.8b
    "Qwen3-0.6B": ("Qwen3-0.6B", 8, 256),
    "Llama-3.2-3B": ("Llama-3.2-3B", 8, 256),
}
NO_TIME = " (no time)"
STEPS_SHARE = 0.45  # of bounded time, in like parts for the models that are left; answers have the rest
TRAINED, TRAINING_STEPS = "Qwen3-0.6B", 200
TRAINED_ARMS = ("lora" + BY_GRAPHS, "peft lora")
# GSM8K's number of test questions, and how long its prompts and a trained model's answers are.
QUESTIONS, PROMPT_TOKENS, ANSWER_TOKENS = 1319, 128, 160
# Linear attention has no continuous batching, so that the ways to generate are compared on a model without it.
ANSWERED = [("Qwen3-0.6B", "hf"), ("Qwen3.5-0.8B", "hf"), ("Qwen3-0.6B", "static"), ("Qwen3-0.6B", "continuous")]
THREE_TIMES_AS_FAST = ("lora", "antipasto")  # bound on Qwen3.5-0.8B: three times peft's tokens a second; timed first


def measure_steps(
    name: str, build: Callable[[], Any], batch: dict[str, Tensor], ends: float = inf
) -> tuple[list[ArmFigures], list[Claim], list[str]]:
    """Milliseconds, tokens a second and peak memory of every arm's step.

    Each variant of ours takes turns with itself by CUDA graphs, the base, our lora and its peer in peft: at most five
    models are in memory.

    Args:
        ends: of `time.monotonic`; no arm is begun after it, and no turn but an arm's first.

    Returns:
        (cells, claims, arms that did not fit into memory or into the time).
    """
    builders = down_proj_arms(build, batch)
    peft_arm = {ours: f"peft {method}" for method, ours in VARIANT_BESIDE.items()}
    always = {arm: build_with_peak(builders.pop(arm)) for arm in ("base", "lora")}
    peaks = {arm: peak for arm, (_, peak) in always.items()}
    times: dict[str, list[float]] = {}
    claims: list[Claim] = []
    late: set[str] = set()
    variants = [arm for arm in builders if not arm.startswith("peft ") and not arm.endswith(BY_GRAPHS)]
    for ours in dict.fromkeys((*THREE_TIMES_AS_FAST, *variants)):
        theirs, by_graphs = peft_arm.get(ours), ours + BY_GRAPHS
        if time.monotonic() > ends:
            late |= {arm for arm in (ours, by_graphs, theirs) if arm in builders}
            continue
        in_memory = {arm: step for arm, (step, _) in always.items()}
        for arm in (ours, by_graphs, theirs):
            if arm in builders:
                with suppress(torch.OutOfMemoryError):  # peft's hra holds a square matrix for each reflection
                    in_memory[arm], peaks[arm] = build_with_peak(builders[arm])
        together = time_arms(in_memory, TURNS, repeats=REPEATS, ends=ends)
        times = together | times  # cells show the base and our lora as first timed; claims, as timed beside the arm
        if ours in together:
            claims.append(claim_ratio(together, "base", ours, 1.0, f"{name}: floor / {ours}"))
        if ours in together and theirs is not None and theirs in together:
            bound = 1 / 3 if name.startswith("Qwen3.5-0.8B") and ours in THREE_TIMES_AS_FAST else 1.0
            what = f"{name}: {ours} / {theirs}"
            claims.append(claim_ratio(together, ours, theirs, bound, f"{what}, time"))
            claims.append(Claim(f"{what}, peak memory", peaks[ours] / peaks[theirs], 1.0))
            if by_graphs in together:
                what = f"{name}: {by_graphs} / {theirs}"
                claims.append(claim_ratio(together, by_graphs, theirs, bound, f"{what}, time"))
    too_large = [arm for arm in builders if arm not in times]
    of_ours = [arm for arm in too_large if "peft " not in arm and arm not in late]
    claims.append(Claim(f"{name}: arms of ours that do not fit", len(of_ours), 0.0))
    tokens = batch["input_ids"].numel()
    cells = [ArmFigures(f"{name}, {arm}", "ms", values) for arm, values in times.items()]
    cells += [
        ArmFigures(f"{name}, {arm}", "tokens/s", [1e3 * tokens / ms for ms in values]) for arm, values in times.items()
    ]
    # Not of graphs: what they hold between replays is no allocation that a peak counts.
    counted = [arm for arm in times if not arm.endswith(BY_GRAPHS)]
    cells += [ArmFigures(f"{name}, {arm}", "MiB at its peak", [peaks[arm] / 2**20]) for arm in counted]
    absent = [f"{name}, {arm}{NO_TIME * (arm in late)}" for arm in too_large]
    return cells, claims, absent


def build_with_peak(build: Callable[[], TrainingStep]) -> tuple[TrainingStep, int]:
    """An arm, and the bytes at the peak of its step: its model included, other models on the GPU not."""
    gc.collect()  # an adapted model and its layers refer to each other, and are freed by the collector alone
    before = torch.cuda.memory_allocated()
    step = build()
    step()  # creates the moments of the optimizer
    torch.cuda.reset_peak_memory_stats()
    step()
    return step, torch.cuda.max_memory_allocated() - before


def seconds_to_train(name: str, arm: str) -> float:
    """Seconds of TRAINING_STEPS steps of 8 rows of unlike length, whatever is captured on the way included."""
    vocabulary = SHAPES[name][1]["vocab_size"]
    batches = unlike_batches(TRAINING_STEPS, 8, vocabulary)
    build = partial(build_model, name, torch.bfloat16, "cuda")
    warm_up = [random_batch(8, 64, vocabulary)] * 2
    step = down_proj_arms(build, random_batch(8, 256, vocabulary), lambda: iter([*warm_up, *batches]))[arm]()
    for _ in warm_up:  # kernels are compiled, and moments made
        step()
    start = time.perf_counter()
    for _ in batches:
        step()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def seconds_to_answer(model: Any, questions: int, batch_size: int, backend: str = "hf") -> float:
    """Seconds to answer random prompts, each by as many tokens as a trained model's answer has."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        MODEL_DIR, trust_remote_code=False
    )  # any tokenizer will do: prompts are random tokens
    run = compose("base", {"eval.batch_size": batch_size, "eval.backend": backend}, "nano")
    lm: Any = Scorer(model, tokenizer, run.eval)
    ids = torch.randint(1, 600, (questions, PROMPT_TOKENS), generator=Generator().manual_seed(0)).tolist()
    lm.tok_encode = lambda text, **options: ids[int(text)]
    lm.tok_batch_encode = lambda texts, **options: (
        torch.tensor([ids[int(text)] for text in texts]),
        torch.ones(len(texts), PROMPT_TOKENS, dtype=torch.long),
    )
    settings = {"until": [], "do_sample": False, "max_gen_toks": ANSWER_TOKENS}
    requests = [SimpleNamespace(args=(str(i), settings)) for i in range(questions)]
    start = time.perf_counter()
    lm.generate_until(requests, disable_tqdm=True)
    return time.perf_counter() - start


def measure(minutes: float = inf) -> Iterator[SuiteResult]:
    """All that is measured so far, after each model and each set of answers."""
    begun = time.monotonic()
    if not torch.cuda.is_available():
        print("needs a GPU: run `antipasto-bench speed --suite gpu` where there is one; nothing was measured here")
        return
    cells: list[ArmFigures] = []
    claims: list[Claim] = []
    absent: list[str] = []
    trained = [f"{TRAINED}, {TRAINING_STEPS} steps on rows of unlike length, {arm}" for arm in TRAINED_ARMS]
    to_come = [*BATCHES, *trained, *(f"answers of {name}, {backend}" for name, backend in ANSWERED)]

    def so_far() -> SuiteResult:
        setting = (
            f"bfloat16, 8 x 256 tokens unless it says otherwise, down_proj, r={RANK} and {FROZEN_RANK}; answers of "
            f"{ANSWER_TOKENS} tokens to prompts of {PROMPT_TOKENS}. {_left_out(absent, to_come)}"
        )
        return SuiteResult(setting, [*cells], [*claims])

    ends_of_steps, ends = (begun + 60 * minutes * share for share in (STEPS_SHARE, 1))
    for place, (name, (shape, rows, width)) in enumerate(BATCHES.items()):
        now = time.monotonic()
        if now <= ends_of_steps:
            build = partial(copy.deepcopy, build_model(shape, torch.bfloat16, "cuda"))
            batch = random_batch(rows, width, SHAPES[shape][1]["vocab_size"])
            of_model = measure_steps(name, build, batch, now + (ends_of_steps - now) / (len(BATCHES) - place))
            to_come.remove(name)
            cells += of_model[0]
            claims += of_model[1]
            absent += of_model[2]
            yield so_far()
    seconds: dict[str, list[float]] = {}
    for arm, what in zip(TRAINED_ARMS, trained, strict=True):
        if time.monotonic() <= ends:
            seconds[arm] = [seconds_to_train(TRAINED, arm)]
            to_come.remove(what)
            cells.append(ArmFigures(what, "s", seconds[arm]))
            if arm == "peft lora":
                claims.append(claim_ratio(seconds, TRAINED_ARMS[0], arm, 1.0, f"{trained[0]} / {arm}"))
            yield so_far()
    for name, backend in ANSWERED:
        if time.monotonic() <= ends:
            spent = _answer(name, backend, ends)
            to_come.remove(f"answers of {name}, {backend}")
            cells.append(ArmFigures(f"{name}, {QUESTIONS} questions, {backend}", "s", spent))
            if name == "Qwen3.5-0.8B":
                claims.append(Claim(f"{name}: seconds for {QUESTIONS} questions / 60", median(spent) / 60, 1.0))
            yield so_far()
    yield so_far()


def _left_out(absent: Sequence[str], to_come: Sequence[str]) -> str:
    """What has no figures, and why: arms as `measure_steps` names them, and parts that were not begun."""
    late = Counter(arm.partition(", ")[0] for arm in absent if arm.endswith(NO_TIME))
    no_time = [*to_come, *(f"{count} arms of {name}" for name, count in late.items())]
    too_large = [arm for arm in absent if not arm.endswith(NO_TIME)]
    said = f"Did not fit: {', '.join(too_large) or 'none'}."
    return f"{said} No time for: {'; '.join(no_time)}." if no_time else said


def _answer(name: str, backend: str, ends: float) -> list[float]:
    """Seconds to answer all questions, twice; once where time is up then."""
    model = build_model(name, torch.bfloat16, "cuda").eval()
    batch_size = min(QUESTIONS, rows_that_fit(model, PROMPT_TOKENS + ANSWER_TOKENS))
    seconds_to_answer(model, min(QUESTIONS, batch_size), batch_size, backend)  # kernels are compiled, and memory taken
    spent = [seconds_to_answer(model, QUESTIONS, batch_size, backend)]
    return spent if time.monotonic() > ends else [*spent, seconds_to_answer(model, QUESTIONS, batch_size, backend)]


if __name__ == "__main__":
    sys.exit(run_suite("gpu", measure))
