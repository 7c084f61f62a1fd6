"""A training step of three blocks of Qwen3-0.6B's shape, random weights, 512 tokens: adapters of down_proj."""

import sys

import peft
from peers import Arm
from shapes import qwen3_06b, random_batch
from torch.optim import AdamW

import antipasto
from antipasto_bench.config import compose
from antipasto_bench.optimisation import Optimisation, completion_loss
from antipasto_bench.speed import Cell, duel, in_turns, record

TURNS, DUEL_TURNS = 7, 31
BATCH = random_batch(4, 128)
DOWN = ("down_proj",)


def base() -> Arm:
    model = qwen3_06b(layers=3).train().requires_grad_(False)
    model.get_input_embeddings().register_forward_hook(lambda module, args, out: out.requires_grad_())
    return lambda: completion_loss(model, BATCH).backward()


def ours(cfg: antipasto.AdapterConfig) -> Arm:
    run = compose("lora", {}, "nano")  # of which the optimizer's settings are taken
    optimisation = Optimisation(antipasto.attach(qwen3_06b(layers=3), cfg).train(), run)
    return lambda: optimisation.step([BATCH], run.lr).read()


def psoft(r: int) -> Arm:
    config = peft.PsoftConfig(r=r, psoft_alpha=r, target_modules=list(DOWN))
    model = peft.get_peft_model(qwen3_06b(layers=3), config).train()
    optimizer = AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        model(**BATCH).loss.backward()
        optimizer.step()

    return step


def main() -> int:
    arms = {
        "base": base(),
        "antipasto r=256": ours(antipasto.AntiPaSTOConfig(r=256, target_names=DOWN)),
        "antipasto_gain r=256": ours(antipasto.AntiPaSTOGainConfig(r=256, target_names=DOWN)),
        "lora r=32": ours(antipasto.LoRAConfig(r=32, target_names=DOWN)),
        "peft psoft r=256": psoft(256),
    }
    times = in_turns(arms, TURNS, again=3)
    claims = [
        duel(arms["antipasto r=256"], arms[other], DUEL_TURNS, bound, f"antipasto r=256 / {other}")
        for other, bound in (("antipasto_gain r=256", 1.01), ("lora r=32", 1.06))
    ]
    setting = "Three blocks of Qwen3-0.6B's shape, 4 x 128 tokens, down_proj."
    return record("layers", setting, [Cell(name, "ms", values) for name, values in times.items()], claims)


if __name__ == "__main__":
    sys.exit(main())
