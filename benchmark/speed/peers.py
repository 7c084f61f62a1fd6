"""What arms are made of: a base, ours on it, and the same method by peft, trained as peft's own comparison trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import peft
import torch
from torch import Tensor, nn

import antipasto
from antipasto_bench.run.attach import attach
from antipasto_bench.run.examples import Example, collate
from antipasto_bench.run.model_cache import Bases
from antipasto_bench.run.models import load_model
from antipasto_bench.run.step import CompletionLoss, Optimisation
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import BASE, RunConfig

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Arm:
    """A model, and the step it is trained by."""

    model: nn.Module
    step: Callable[[], Any]

    def __call__(self) -> Any:
        return self.step()


# The same method at the same setting: by our name for it.
PEERS: dict[str, Callable[[int, list[str]], peft.PeftConfig]] = {
    "lora": lambda r, names: peft.LoraConfig(r=r, lora_alpha=2 * r, target_modules=names),
    "dora": lambda r, names: peft.LoraConfig(r=r, lora_alpha=2 * r, use_dora=True, target_modules=names),
    "pissa": lambda r, names: peft.LoraConfig(r=r, lora_alpha=r, init_lora_weights="pissa", target_modules=names),
    "delora": lambda r, names: peft.DeloraConfig(r=r, target_modules=names),
    "hra": lambda r, names: peft.HRAConfig(r=r, target_modules=names),
    "road": lambda r, names: peft.RoadConfig(variant="road_1", group_size=64, target_modules=names),
    "ia3": lambda r, names: peft.IA3Config(target_modules=names, feedforward_modules=[]),
    "psoft": lambda r, names: peft.PsoftConfig(r=r, psoft_alpha=r, target_modules=names),
}


# Of peft's methods, the variant of ours that does the same, or comes next to it.
OURS = {name: name for name in PEERS} | {"psoft": "antipasto"}


def base_step(model: Any, batch: Batch, targets: Iterable[str]) -> Arm:
    """Forward and backward, from the loss to the first of these layers: what no adapter of them can do without."""
    model.train().requires_grad_(False)
    for name in targets:
        model.get_submodule(name).register_forward_hook(lambda module, args, out: out.requires_grad_())
    loss = CompletionLoss(model)
    return Arm(model, lambda: loss(batch).backward())


def our_step(model: Any, run: RunConfig, draw: Callable[[], Batch]) -> Arm:
    """A step of our training loop, of a model with an adapter."""
    optimisation = Optimisation(model.train(), run)
    return Arm(model, lambda: optimisation.step([draw()], run.lr).read())


def peft_step(model: nn.Module, draw: Callable[[], Batch], steps: int = 1000, lr: float = 1e-4) -> Arm:
    """Forward, backward, clip, AdamW, cosine schedule; `draw` pads."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    device = next(model.parameters()).device

    def step() -> float:
        batch = {key: value.to(device) for key, value in draw().items()}
        items = int(batch["attention_mask"].sum())
        optimizer.zero_grad()
        loss = model(**batch, num_items_in_batch=items).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        return float(loss.detach())

    return Arm(model, step)


def padded(tokenizer: Any, examples: list[Example]) -> Batch:
    """As peft's comparison pads: all but padding bears loss, and one end token of it."""
    rows = [example.ids for example in examples]
    batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt", padding_side="right")
    labels = batch["input_ids"].clone()
    for place, row in enumerate(rows):
        labels[place, len(row) + 1 :] = -100
    return {**batch, "labels": labels}


class Bench:
    """Models, examples and batches of one preset, each arm with a model of its own."""

    def __init__(self, preset: str, **given: Any) -> None:
        self.preset, self.given = preset, given
        self.bases = Bases()
        run = self.run("lora")
        _, self.tokenizer = self.bases.model(run)
        self.examples = self.bases.examples(run, self.tokenizer)
        self.shown = self.examples[: run.batch_size]

    def run(self, variant: str, **given: Any) -> RunConfig:
        return compose(variant, self.given | given, self.preset)

    def batch(self) -> Batch:
        return collate(self.shown, self.tokenizer.pad_token_id)

    def model(self, run: RunConfig) -> Any:
        return load_model(run)[0]

    @cached_property
    def every(self) -> list[str]:
        """All linear layers of the blocks, by name."""
        return linear_targets(self.model(self.run(BASE)))

    def base(self, targets: Iterable[str]) -> Arm:
        return base_step(self.model(self.run(BASE)), self.batch(), targets)

    def ours(self, variant: str, **given: Any) -> Arm:
        run = self.run(variant, **given)
        model = self.model(run)
        attach(run, model, self.tokenizer, self.examples)
        return our_step(model, run, self.batch)

    def peers(self, name: str, r: int, targets: list[str]) -> Arm:
        model = peft.get_peft_model(self.model(self.run("lora")), PEERS[name](r, targets))
        return peft_step(model, lambda: padded(self.tokenizer, self.shown))

    def arms(self) -> dict[str, Callable[[], Arm]]:
        """The base, every variant at the preset's setting and every method of PEERS at the same: each when called."""
        keys_and_values = [name for name in self.every if name.endswith(("k_proj", "v_proj"))]
        arms: dict[str, Callable[[], Arm]] = {"base": partial(self.base, self.every)}
        for name, variant in antipasto.REGISTRY.items():
            if variant.trains:
                arms[name] = partial(self.ours, name)
        arms["antipasto both"] = partial(self.ours, "antipasto", rotate_basis="both")
        for name in PEERS:
            r, targets = 64 if name == "psoft" else 16, keys_and_values if name == "ia3" else self.every
            arms[f"peft {name}"] = partial(self.peers, name, r, targets)
        return arms


DOWN = ("down_proj",)
FROZEN_RANK, RANK = 256, 32  # in a frozen basis and for psoft; of all others


def arms_of(make: Callable[[], Any], batch: Batch) -> dict[str, Callable[[], Arm]]:
    """A step with every variant of ours and every method of PEERS on `down_proj`, and of the base: each when called."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = compose("lora", {}, "nano")  # of which the optimizer's settings are taken
    shown = [{key: value for key, value in batch.items() if key != "labels"}]

    def base() -> Arm:
        model = make().to(device)
        return base_step(model, batch, linear_targets(model, DOWN))

    def ours(cfg: antipasto.AdapterConfig) -> Arm:
        data = shown if antipasto.REGISTRY[cfg.variant].needs_data(cfg) else None
        return our_step(antipasto.attach(make().to(device), cfg, data), run, lambda: batch)

    def theirs(config: peft.PeftConfig) -> Arm:
        return peft_step(peft.get_peft_model(make().to(device), config), lambda: batch)

    arms: dict[str, Callable[[], Arm]] = {"base": base}
    for name, variant in antipasto.REGISTRY.items():
        if variant.trains:
            frozen = issubclass(antipasto.CONFIGS[name], antipasto.FrozenBasisConfig)
            cfg = antipasto.CONFIGS[name](r=FROZEN_RANK if frozen else RANK, target_names=DOWN)
            arms[name] = partial(ours, cfg)
    for name, config in PEERS.items():
        asked = config(FROZEN_RANK if name == "psoft" else RANK, list(DOWN))
        if isinstance(asked, peft.PsoftConfig):
            asked.psoft_svd = "lowrank"  # all of it takes minutes of attaching, and makes no other step
        arms[f"peft {name}"] = partial(theirs, asked)
    return arms


def linear_targets(model: nn.Module, endings: tuple[str, ...] = ("_proj",)) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name.endswith(endings)]
