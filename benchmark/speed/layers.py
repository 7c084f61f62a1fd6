"""A training step of blocks of published shapes, random weights, adapters of down_proj.

Three blocks of Qwen3-0.6B's shape in float32, 512 tokens; on a GPU also all blocks of Qwen3-0.6B's and of
Llama-3.2-3B's shape in bfloat16, 8 x 256 tokens.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import peft
import torch
from peers import Arm
from shapes import blocks, random_batch
from torch import Tensor
from torch.optim import AdamW

import antipasto
from antipasto_bench.config import compose
from antipasto_bench.optimisation import CompletionLoss, Optimisation
from antipasto_bench.speed import Cell, Claim, duel, in_turns, record

TURNS, DUEL_TURNS = 7, 31
DOWN = ("down_proj",)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Make = Callable[[], Any]


def base(make: Make, batch: dict[str, Tensor]) -> Arm:
    model = make().to(DEVICE).train().requires_grad_(False)
    model.get_input_embeddings().register_forward_hook(lambda module, args, out: out.requires_grad_())
    loss = CompletionLoss(model)
    return lambda: loss(batch).backward()


def ours(make: Make, batch: dict[str, Tensor], cfg: antipasto.AdapterConfig) -> Arm:
    run = compose("lora", {}, "nano")  # of which the optimizer's settings are taken
    optimisation = Optimisation(antipasto.attach(make().to(DEVICE), cfg).train(), run)
    return lambda: optimisation.step([batch], run.lr).read()


def theirs(make: Make, batch: dict[str, Tensor], config: peft.PeftConfig) -> Arm:
    model = peft.get_peft_model(make().to(DEVICE), config).train()
    optimizer = AdamW(model.parameters(), lr=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        loss = model(**{key: value.to(DEVICE) for key, value in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def arms_of(make: Make, batch: dict[str, Tensor]) -> dict[str, Arm]:
    return {
        "base": base(make, batch),
        "antipasto r=256": ours(make, batch, antipasto.AntiPaSTOConfig(r=256, target_names=DOWN)),
        "antipasto_gain r=256": ours(make, batch, antipasto.AntiPaSTOGainConfig(r=256, target_names=DOWN)),
        "lora r=32": ours(make, batch, antipasto.LoRAConfig(r=32, target_names=DOWN)),
        "peft lora r=32": theirs(make, batch, peft.LoraConfig(r=32, target_modules=list(DOWN))),
        "peft psoft r=256": theirs(make, batch, peft.PsoftConfig(r=256, psoft_alpha=256, target_modules=list(DOWN))),
    }


def main() -> int:
    arms = arms_of(partial(blocks, "qwen3", layers=3), random_batch(4, 128))
    times = in_turns(arms, TURNS, again=3)
    cells = [Cell(name, "ms", values) for name, values in times.items()]
    claims: list[Claim] = [
        duel(arms["antipasto r=256"], arms[other], DUEL_TURNS, bound, f"antipasto r=256 / {other}")
        for other, bound in (("antipasto_gain r=256", 1.01), ("lora r=32", 1.06))
    ]
    del arms
    if DEVICE == "cuda":
        for name, kind in (("Qwen3-0.6B", "qwen3"), ("Llama-3.2-3B", "llama")):
            arms = arms_of(partial(blocks, kind, dtype=torch.bfloat16), random_batch(8, 256))
            times = in_turns(arms, TURNS, again=5)
            cells += [Cell(f"{name}, {arm}", "ms", values) for arm, values in times.items()]
            del arms
    else:
        print("the whole of Qwen3-0.6B's and Llama-3.2-3B's shape are measured where there is a GPU", file=sys.stderr)
    setting = "Three blocks of Qwen3-0.6B's shape, float32, 4 x 128 tokens, down_proj."
    return record("layers", setting, cells, claims)


if __name__ == "__main__":
    sys.exit(main())
