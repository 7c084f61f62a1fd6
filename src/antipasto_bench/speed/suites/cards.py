"""What the published tables would take on cards of 24, 80 and 141 GB: derived from counted launches, operations and
bytes, and not measured. The suite `gpu` measures the parts of it where there is a GPU.

A part of a run takes as long as the slowest of three: one process's launches of its kernels, its operations at a share
of the card's peak, its bytes at the card's bandwidth. Processes that share a card launch side by side, and share the
rest. Launches are counted on a model of the same depth and kinds of layers with little widths, on which they do not
depend.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import antipasto

from ...core.json_types import Json
from ...run.shape_costs import cost_of_shapes
from ...spec.compose import compose
from ...spec.config import RunConfig
from ..peers import DOWN_PROJ, our_step
from ..recording import run_suite
from ..shapes import SHAPES, build_model, random_batch
from ..suite import ArmFigures, SuiteResult


@dataclass(frozen=True)
class Card:
    """A GPU as its maker describes it."""

    name: str
    memory: float  # bytes
    operations: float  # a second, dense bfloat16 with float32 sums
    bandwidth: float  # bytes a second


CARDS = [
    Card("RTX 4090, 24 GB", 24e9, 165e12, 1.008e12),
    Card("H100 SXM, 80 GB", 80e9, 989e12, 3.35e12),
    Card("H200, 141 GB", 141e9, 989e12, 4.8e12),
]
# Seconds that one process takes to launch a kernel, Python included: in the search of SmolLM2 on an H100 (results/tune)
# some twelve processes trained side by side, and lora took 17.1 s for 100 steps of 3,283 kernels, validation included.
LAUNCH = 50e-6
# Assumed: the share of a card's operations that products of these widths reach; of its memory, that is used; and cores,
# each of which launches for one process.
EFFICIENCY, USED, CORES = 0.5, 0.9, 16
# Tokens of an example and of its completion, as in the runs of SmolLM2 on GSM8K's training questions; of an answer.
EXAMPLE_TOKENS, COMPLETION_TOKENS, PROMPT_TOKENS, ANSWER_TOKENS = 171, 101, 128, 160
ROWS, SEEDS = 14, 3  # of the published table
TRIES, TRY_SHARE = 8, 0.1  # of an arm's search: short runs, and the share of a run's steps that each takes
QUESTIONS, ROWS_AT_ONCE = 1319, 256
PRESETS = {"lora-lite-qwen3.5-0.8b": "Qwen3.5-0.8B", "peft-llama-3.2-3b": "Llama-3.2-3B"}


class Launches(TorchDispatchMode):
    """Counts operations that would launch a kernel: all but those that give a view, or memory without values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns)
        without_values = func._schema.name in ("aten::empty", "aten::empty_strided", "aten::empty_like")
        self.count += not (views or without_values)
        return func(*args, **kwargs or {})


def count_launches(work: Callable[[], Any]) -> int:
    mode = Launches()
    with mode:
        work()
    return mode.count


@dataclass(frozen=True)
class Work:
    """What one process does in a while."""

    launches: float
    operations: float
    moved: float  # bytes

    def seconds(self, card: Card, processes: int = 1) -> float:
        """Of each of so many processes that do this side by side."""
        shared = max(self.operations / (EFFICIENCY * card.operations), self.moved / card.bandwidth)
        return max(LAUNCH * self.launches, processes * shared)

    def times(self, factor: float) -> Work:
        return Work(factor * self.launches, factor * self.operations, factor * self.moved)

    def __add__(self, other: Work) -> Work:
        return Work(self.launches + other.launches, self.operations + other.operations, self.moved + other.moved)


@dataclass(frozen=True)
class RunWork:
    """A training step, the answers to all questions, and the bytes that the process holds."""

    run: RunConfig
    step: Work
    answers: Work
    held: float

    def whole(self) -> Work:
        return self.step.times(self.run.steps) + self.answers


def work_of(preset: str, shape: str) -> RunWork:
    """Of a lora on down_proj by a preset's protocol; what other adapters add is in `cost` and in the suite `step`."""
    run = compose("lora", {"targets": [*DOWN_PROJ]}, preset)
    sizes = SHAPES[shape][1]
    costs = cost_of_shapes(run)
    head = sizes["hidden_size"] * sizes["vocab_size"]
    body, weights = costs.base_macs_per_token - head, 2 * costs.base_params
    step_launches, pass_launches = _launches(shape, run)

    examples = run.batch_size * run.grad_accum
    tokens = EXAMPLE_TOKENS * body + COMPLETION_TOKENS * head
    step = Work(step_launches, 4 * examples * tokens, 2 * run.grad_accum * weights)  # forward and backward

    cache = 4 * sizes["num_hidden_layers"] * sizes["num_key_value_heads"] * sizes["head_dim"]  # bytes a token, at most
    passes = QUESTIONS * ANSWER_TOKENS / ROWS_AT_ONCE
    read = PROMPT_TOKENS + ANSWER_TOKENS / 2
    one_pass = Work(pass_launches, 2 * ROWS_AT_ONCE * (body + head), weights + ROWS_AT_ONCE * read * cache)
    prompts = Work(0, 2 * QUESTIONS * PROMPT_TOKENS * body, 0)  # read together, in few launches
    longest = EXAMPLE_TOKENS if run.data.max_length is None else run.data.max_length
    # 34 bytes a token, layer and unit of width that a backward pass keeps of a block (Korthikanti et al., 2205.05198).
    activations = 34 * run.batch_size * longest * sizes["num_hidden_layers"] * sizes["hidden_size"]
    rows = ROWS_AT_ONCE * (PROMPT_TOKENS + (run.eval.max_new_tokens or 300)) * cache
    return RunWork(run, step, one_pass.times(passes) + prompts, weights + max(activations, rows) + 0.5e9)


def _launches(shape: str, run: RunConfig) -> tuple[int, int]:
    """Of a training step, and of a pass that gives every open answer a token."""
    heads = SHAPES[shape][1]["num_attention_heads"]
    small: Json = {"hidden_size": 8 * heads, "head_dim": 8, "intermediate_size": 64, "vocab_size": 700}
    model = build_model(shape, torch.float32, **small)
    with torch.no_grad():
        ids = torch.ones((2, 1), dtype=torch.long)
        cache = model(ids, use_cache=True).past_key_values
        one_pass = count_launches(lambda: model(ids, past_key_values=cache, use_cache=True).logits.argmax(-1))
    antipasto.attach(model, antipasto.CONFIGS["lora"](r=4, target_names=DOWN_PROJ))
    micro_batches = [random_batch(run.batch_size, EXAMPLE_TOKENS, 700)]
    step = our_step(model, run, lambda: micro_batches[0])
    step()  # creates the moments of the optimizer
    return run.grad_accum * count_launches(step), one_pass


def measure() -> SuiteResult:
    cells = []
    for preset, shape in PRESETS.items():
        of_run = work_of(preset, shape)
        cells += [
            ArmFigures(f"{shape}, a step", "kernels", [of_run.step.launches]),
            ArmFigures(f"{shape}, a step", "TFLOP", [of_run.step.operations / 1e12]),
            ArmFigures(f"{shape}, a step", "GB moved", [of_run.step.moved / 1e9]),
            ArmFigures(f"{shape}, a process", "GB held", [of_run.held / 1e9]),
        ]
        arm = of_run.whole().times(SEEDS) + of_run.step.times(TRIES * TRY_SHARE * of_run.run.steps)
        for card in CARDS:
            name = f"{shape} on {card.name}"
            fit = min(CORES, int(USED * card.memory / of_run.held))
            cells += [
                ArmFigures(f"{name}, a step alone (derived)", "ms", [1e3 * of_run.step.seconds(card)]),
                ArmFigures(f"{name}, {QUESTIONS} answers alone (derived)", "s", [of_run.answers.seconds(card)]),
                ArmFigures(f"{name}, processes that fit (derived)", "", [fit]),
            ]
            if fit:
                hours = min(ROWS * arm.seconds(card, n) / n for n in range(1, fit + 1)) / 3600
                cells.append(ArmFigures(f"{name}, the table (derived)", "hours", [hours]))
    setting = (
        f"**Derived, not measured**: a table of {ROWS} rows, {SEEDS} seeds and a search of {TRIES} runs of "
        f"{TRY_SHARE:.0%} of the steps a row, by the protocols of the presets {' and '.join(PRESETS)}. "
        f"{LAUNCH * 1e6:g} us a kernel and process, as measured with SmolLM2 on an H100. Assumed: "
        f"{EFFICIENCY:.0%} of a card's peak, {CORES} processes at most, plain torch for linear attention (its kernels, "
        f"`fla`, launch far less), {EXAMPLE_TOKENS} tokens an example and {ANSWER_TOKENS} an answer; moved are weights "
        "and keys and values."
    )
    return SuiteResult(setting, cells, [])


if __name__ == "__main__":
    sys.exit(run_suite("cards", measure))
