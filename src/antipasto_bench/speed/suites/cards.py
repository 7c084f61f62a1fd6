"""What tables by the published protocols would take on cards of 24, 80 and 141 GB: derived from counted launches,
operations and bytes, and not measured. The suite `gpu` measures the parts of it where there is a GPU.

A training step, and a pass that gives every open answer a token, takes as long as the slowest of three: one process's
launches of its kernels, its operations at a share of the card's peak, its bytes at the card's bandwidth. Processes that
share a card launch side by side, and share the rest. Launches are counted on a model of the same depth and kinds of
layers, whose widths are small.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import antipasto

from ...run.shape_costs import cost_of_shapes
from ...run.step import AdapterOptimizer
from ...spec.compose import compose
from ...spec.config import RunConfig
from ..peers import DOWN_PROJ
from ..recording import run_suite
from ..shapes import SHAPES, build_model, random_batch
from ..suite import ArmFigures, SuiteResult
from .gpu import ANSWER_TOKENS, PROMPT_TOKENS, QUESTIONS


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
# Seconds that one process takes to launch a kernel, Python included, and how many did so side by side: in the search of
# SmolLM2 on an H100 with 16 cores (results/tune) some twelve processes trained together, and lora's trials at 3e-3 and
# 1e-2 took 17.9 and 17.1 s, validation included, for 100 steps of some 3,300 kernels. Sixteen took twice as long.
LAUNCH, PROCESSES = 50e-6, 12
# Assumed: the share of a card's operations that products of these widths reach, and of its memory that is used.
EFFICIENCY, USED = 0.5, 0.9
CONTEXT = 0.5e9  # bytes of a process's CUDA context
# Tokens of an example and of its completion, as in the runs of SmolLM2 on GSM8K's training questions.
EXAMPLE_TOKENS, COMPLETION_TOKENS = 171, 101
ROWS, SEEDS = 14, 3
TRIES, TRY_SHARE = 8, 0.1  # of an arm's search: short runs, and the share of a run's steps that each takes
MANY = 256  # answers at once, beside the preset's own number
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
    """What one process does in a step or a pass."""

    launches: float
    operations: float
    moved: float  # bytes

    def seconds(self, card: Card, processes: int = 1) -> float:
        """Of each of so many processes that do this side by side."""
        shared = max(self.operations / (EFFICIENCY * card.operations), self.moved / card.bandwidth)
        return max(LAUNCH * self.launches, processes * shared)


@dataclass(frozen=True)
class RunWork:
    """A run by a preset's protocol, with a number of answers at once."""

    steps: int
    step: Work
    passes: float  # of the model, for all answers
    one_pass: Work
    held: float  # bytes, by one process

    def answer_seconds(self, card: Card, processes: int = 1) -> float:
        return self.passes * self.one_pass.seconds(card, processes)

    def table_hours(self, card: Card) -> float | None:
        """Of ROWS arms with their searches and seeds, by as many processes as fit; None where not one does."""
        processes = min(PROCESSES, int(USED * card.memory / self.held))
        if not processes:
            return None
        steps = self.steps * (SEEDS + TRIES * TRY_SHARE) * self.step.seconds(card, processes)
        return ROWS * (steps + SEEDS * self.answer_seconds(card, processes)) / processes / 3600


class Protocol:
    """A preset with a lora on down_proj, and its model's shape."""

    def __init__(self, preset: str, shape: str) -> None:
        self.run = compose("lora", {"targets": [*DOWN_PROJ]}, preset)
        self.shape, self.sizes = shape, SHAPES[shape][1]
        costs = cost_of_shapes(self.run)
        self.head = self.sizes["hidden_size"] * self.sizes["vocab_size"]
        self.body, self.weights = costs.base_macs_per_token - self.head, 2 * costs.base_params
        self.model = small_model(shape)
        self.pass_launches = _pass_launches(self.model)
        self.step_launches = _step_launches(self.model, self.run)

    def work(self, at_once: int) -> RunWork:
        run, layers, width = self.run, self.sizes["num_hidden_layers"], self.sizes["hidden_size"]
        scored = EXAMPLE_TOKENS if run.loss_on == "all" else COMPLETION_TOKENS
        products = run.batch_size * run.grad_accum * (EXAMPLE_TOKENS * self.body + scored * self.head)
        step = Work(self.step_launches, 4 * products, 2 * run.grad_accum * self.weights)  # forward and backward
        a_token, a_row = self._cache_bytes()
        cache = at_once * (a_row + a_token * (PROMPT_TOKENS + ANSWER_TOKENS / 2))
        one_pass = Work(self.pass_launches, 2 * at_once * (self.body + self.head), self.weights + cache)
        # 34 bytes a token, layer and unit of width that a backward pass keeps of a block (Korthikanti et al.,
        # 2205.05198), of as many tokens as the longest examples have.
        kept = 34 * run.batch_size * (run.data.max_length or EXAMPLE_TOKENS) * layers * width
        rows = at_once * (a_row + a_token * (PROMPT_TOKENS + (run.eval.max_new_tokens or ANSWER_TOKENS)))
        passes = QUESTIONS * ANSWER_TOKENS / at_once
        return RunWork(run.steps, step, passes, one_pass, CONTEXT + self.weights + max(kept, rows))

    def _cache_bytes(self) -> tuple[int, int]:
        """Of keys and values a token, and of linear attention's states a row."""
        kinds = getattr(self.model.config, "layer_types", None) or ["full_attention"] * self.sizes["num_hidden_layers"]
        linear = kinds.count("linear_attention")
        keys = 2 * self.sizes["num_key_value_heads"] * self.sizes["head_dim"]
        config = self.model.config
        state = (
            config.linear_num_value_heads * config.linear_key_head_dim * config.linear_value_head_dim if linear else 0
        )
        return 2 * (len(kinds) - linear) * keys, 4 * linear * state  # bfloat16, and states in float32


def small_model(shape: str) -> Any:
    heads = SHAPES[shape][1]["num_attention_heads"]
    return build_model(shape, torch.bfloat16, hidden_size=8 * heads, head_dim=8, intermediate_size=64)


def _pass_launches(model: Any) -> int:
    """Of a pass that gives every open answer a token."""
    with torch.no_grad():
        ids = torch.ones((2, 1), dtype=torch.long)
        cache = model(ids, use_cache=True).past_key_values
        return count_launches(lambda: model(ids, past_key_values=cache, use_cache=True).logits.argmax(-1))


def _step_launches(model: Any, run: RunConfig) -> int:
    """Of a training step with a lora, which is attached here."""
    antipasto.attach(model, antipasto.CONFIGS["lora"](r=4, target_names=DOWN_PROJ))
    optimizer = AdapterOptimizer(model.train(), run)
    batch = random_batch(run.batch_size, EXAMPLE_TOKENS, model.config.vocab_size)

    def step() -> None:
        optimizer.step([batch] * run.grad_accum, run.lr).read()

    step()  # creates the moments of the optimizer
    return count_launches(step)


def measure() -> SuiteResult:
    cells = []
    for preset, shape in PRESETS.items():
        protocol = Protocol(preset, shape)
        own = protocol.run.eval.batch_size
        at_once = {size: protocol.work(size) for size in (own, MANY) if isinstance(size, int)}
        step = next(iter(at_once.values())).step
        cells += [
            ArmFigures(f"{shape}, a step", "kernels", [step.launches]),
            ArmFigures(f"{shape}, a step", "TFLOP", [step.operations / 1e12]),
            ArmFigures(f"{shape}, a step", "GB moved", [step.moved / 1e9]),
        ]
        for card in CARDS:
            cells.append(ArmFigures(f"{shape} on {card.name}, a step (derived)", "ms", [1e3 * step.seconds(card)]))
            for size, work in at_once.items():
                name, hours = f"{shape} on {card.name}, {size} answers at once", work.table_hours(card)
                cells.append(ArmFigures(f"{name}, a process (derived)", "GB", [work.held / 1e9]))
                cells.append(ArmFigures(f"{name}, {QUESTIONS} answers (derived)", "s", [work.answer_seconds(card)]))
                if hours is not None:
                    cells.append(ArmFigures(f"{name}, the table (derived)", "hours", [hours]))
    setting = (
        f"**Derived, not measured**: a table of {ROWS} rows, {SEEDS} seeds and a search of {TRIES} runs of "
        f"{TRY_SHARE:.0%} of the steps a row, by the protocols of the presets {' and '.join(PRESETS)}, every row at "
        f"the price of lora on down_proj; with the preset's number of answers at once, and with {MANY}. "
        f"{LAUNCH * 1e6:g} us per kernel launch and process, for up to {PROCESSES} processes, as measured with SmolLM2 "
        f"on an H100. Assumed: {EFFICIENCY:.0%} of a card's peak, {EXAMPLE_TOKENS} tokens an example, "
        f"{ANSWER_TOKENS} an answer, plain torch for linear attention (its kernels, `fla`, launch far less). Bytes "
        "moved: weights, KV cache and states. Left out: loading, reading prompts, held-out and general loss, "
        "attention's products, activations that are read and written."
    )
    return SuiteResult(setting, cells, [])


if __name__ == "__main__":
    sys.exit(run_suite("cards", measure))
