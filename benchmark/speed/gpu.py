"""On a GPU, whole models of published shapes in bfloat16 with random weights: a step of 8 x 256 tokens, its peak
memory, and GSM8K's number of questions answered.

    antipasto-bench speed --suite gpu
"""

import copy
import gc
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from peers import FROZEN_RANK, OURS, RANK, Arm, arms_of
from shapes import SHAPES, random_batch, shaped
from torch import Generator, Tensor

from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.generate import Scorer, fitting
from antipasto_bench.spec.compose import compose
from antipasto_bench.speed.harness import Cell, Claim, by_turns, in_turns, record

TURNS = 9
MODELS = ("Qwen3.5-0.8B", "Qwen3-0.6B", "Llama-3.2-3B")
QUESTIONS, PROMPT_TOKENS, ANSWER_TOKENS = 1319, 128, 160  # GSM8K's; what its questions and trained answers come to
# Linear attention has no continuous batching, so that the ways to generate are compared on a model without it.
ANSWERED = [("Qwen3.5-0.8B", "hf"), ("Qwen3-0.6B", "hf"), ("Qwen3-0.6B", "static"), ("Qwen3-0.6B", "continuous")]
MAIN = ("lora", "antipasto")  # which are to train three times as many tokens a second as peft does


def steps(name: str, make: Callable[[], Any], batch: dict[str, Tensor]) -> tuple[list[Cell], list[Claim], list[str]]:
    """Milliseconds, tokens a second and peak memory of a step of every arm, in turns with the base and our lora.

    Returns:
        (cells, claims, arms that did not fit).
    """
    made = arms_of(make, batch)
    theirs = {ours: f"peft {peer}" for peer, ours in OURS.items()}
    beside = {arm: with_peak(made.pop(arm)) for arm in ("base", "lora")}
    peaks = {arm: peak for arm, (_, peak) in beside.items()}
    times: dict[str, list[float]] = {}
    claims: list[Claim] = []
    for ours in [arm for arm in ("lora", *made) if not arm.startswith("peft ")]:
        rivals = {arm: step for arm, (step, _) in beside.items()}  # no more models than have to take turns
        for arm in (ours, theirs.get(ours)):
            if arm in made:
                with suppress(torch.OutOfMemoryError):  # peft's hra holds a square matrix for each reflection
                    rivals[arm], peaks[arm] = with_peak(made[arm])
        found = in_turns(rivals, TURNS, again=5)
        times = found | times  # the base and our lora as they were in the first turns; in claims as beside the arm
        if ours in found:
            claims.append(by_turns(found, "base", ours, 1.0, f"{name}: floor / {ours}"))
        if {ours, theirs.get(ours)} <= found.keys():
            bound = 1 / 3 if name == "Qwen3.5-0.8B" and ours in MAIN else 1.0
            what = f"{name}: {ours} / {theirs[ours]}"
            claims.append(by_turns(found, ours, theirs[ours], bound, f"{what}, time"))
            claims.append(Claim(f"{what}, peak memory", peaks[ours] / peaks[theirs[ours]], 1.0))
    too_large = [arm for arm in made if arm not in times]
    claims.append(Claim(f"{name}: arms of ours that do not fit", sum("peft " not in arm for arm in too_large), 0.0))
    tokens = batch["input_ids"].numel()
    cells = [Cell(f"{name}, {arm}", "ms", values) for arm, values in times.items()]
    cells += [Cell(f"{name}, {arm}", "tokens/s", [1e3 * tokens / ms for ms in values]) for arm, values in times.items()]
    cells += [Cell(f"{name}, {arm}", "MiB at its peak", [peaks[arm] / 2**20]) for arm in times]
    return cells, claims, [f"{name}, {arm}" for arm in too_large]


def with_peak(make: Callable[[], Arm]) -> tuple[Arm, int]:
    """An arm, and the bytes at the peak of its step, with its model and without what the GPU held before."""
    gc.collect()  # an adapted model and its layers point at each other
    before = torch.cuda.memory_allocated()
    arm = make()
    arm()  # the moments of the optimizer are made
    torch.cuda.reset_peak_memory_stats()
    arm()
    return arm, torch.cuda.max_memory_allocated() - before


def answering(model: Any, questions: int, at_once: int, backend: str = "hf") -> float:
    """Seconds that random prompts take, each answered by as many tokens as a trained model's answer has."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)  # any will do: what is said means nothing
    run = compose("base", {"eval.batch_size": at_once, "eval.backend": backend}, "nano")
    lm = Scorer(model, tokenizer, run.eval)
    ids = torch.randint(1, 600, (questions, PROMPT_TOKENS), generator=Generator().manual_seed(0)).tolist()
    lm.tok_encode = lambda text, **options: ids[int(text)]  # type: ignore[method-assign]
    lm.tok_batch_encode = lambda texts, **options: (  # type: ignore[method-assign]
        torch.tensor([ids[int(text)] for text in texts]),
        torch.ones(len(texts), PROMPT_TOKENS, dtype=torch.long),
    )
    settings = {"until": [], "do_sample": False, "max_gen_toks": ANSWER_TOKENS}
    requests = [SimpleNamespace(args=(str(i), settings)) for i in range(questions)]
    start = time.perf_counter()
    lm.generate_until(requests, disable_tqdm=True)
    return time.perf_counter() - start


def main() -> int:
    if not torch.cuda.is_available():
        print("needs a GPU: run `antipasto-bench speed --suite gpu` where there is one; nothing was measured here")
        return 0
    cells: list[Cell] = []
    claims: list[Claim] = []
    too_large: list[str] = []
    for name in MODELS:
        make = partial(copy.deepcopy, shaped(name, torch.bfloat16))
        found = steps(name, make, random_batch(8, 256, SHAPES[name][1]["vocab_size"]))
        cells += found[0]
        claims += found[1]
        too_large += found[2]
    for name, backend in ANSWERED:
        model = shaped(name, torch.bfloat16).to("cuda").eval()
        at_once = min(QUESTIONS, fitting(model, PROMPT_TOKENS + ANSWER_TOKENS))
        answering(model, QUESTIONS, at_once, backend)
        taken = [answering(model, QUESTIONS, at_once, backend) for _ in range(2)]
        cells.append(Cell(f"{name}, {QUESTIONS} questions, {backend}", "s", taken))
        if name == "Qwen3.5-0.8B":
            claims.append(Claim(f"{name}: seconds for {QUESTIONS} questions / 60", median(taken) / 60, 1.0))
    setting = (
        f"bfloat16, 8 x 256 tokens, down_proj, r={RANK} and {FROZEN_RANK}; answers of {ANSWER_TOKENS} tokens to "
        f"prompts of {PROMPT_TOKENS}. Did not fit: {', '.join(too_large) or 'none'}."
    )
    return record("gpu", setting, cells, claims)


if __name__ == "__main__":
    sys.exit(main())
