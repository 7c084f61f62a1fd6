"""What arms are made of: a base, ours on it, and the same method by peft, trained as peft's own comparison trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peft
import torch
from torch import nn

from antipasto_bench.attach import attach
from antipasto_bench.bases import Bases
from antipasto_bench.config import BASE, RunConfig, compose
from antipasto_bench.data import Example, collate
from antipasto_bench.load import load_model
from antipasto_bench.optimisation import CompletionLoss, Optimisation

Arm = Callable[[], Any]

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


class Bench:
    """Models, examples and batches of one preset, each arm with a model of its own."""

    def __init__(self, preset: str, batch_size: int | None = None, **given: Any) -> None:
        self.preset, self.given = preset, given
        self.bases = Bases()
        run = self.run("lora")
        _, self.tokenizer = self.bases.model(run)
        self.examples = self.bases.examples(run, self.tokenizer)
        self.shown = self.examples[: batch_size or run.batch_size]

    def run(self, variant: str, **given: Any) -> RunConfig:
        return compose(variant, self.given | given, self.preset)

    def batch(self) -> dict[str, torch.Tensor]:
        return collate(self.shown, self.tokenizer.pad_token_id)

    def model(self, run: RunConfig) -> Any:
        return load_model(run)[0].train()

    def base(self) -> Arm:
        """Forward and backward, from the loss to the embeddings: what no adapter of the layers can do without."""
        model = self.model(self.run(BASE)).requires_grad_(False)
        model.get_input_embeddings().register_forward_hook(lambda module, args, out: out.requires_grad_())
        batch = {key: value.to(model.device) for key, value in self.batch().items()}
        loss = CompletionLoss(model)
        return lambda: loss(batch).backward()

    def ours(self, variant: str, **given: Any) -> Arm:
        """A step of our training loop."""
        run = self.run(variant, **given)
        model = self.model(run)
        attach(run, model, self.tokenizer, self.examples)
        model.train()
        optimisation = Optimisation(model, run)
        return lambda: optimisation.step([self.batch()], run.lr).read()

    def peers(self, name: str, r: int, targets: list[str]) -> Arm:
        """A step of the loop by which peft compares its methods."""
        run = self.run("lora")
        model = peft.get_peft_model(self.model(run), PEERS[name](r, targets)).train()
        return peft_step(model, self.tokenizer, lambda: self.shown)


def peft_step(
    model: nn.Module, tokenizer: Any, draw: Callable[[], list[Example]], steps: int = 1000, lr: float = 1e-4
) -> Arm:
    """Pad, label all but padding (and one end token), forward, backward, clip, AdamW, cosine schedule."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    device = next(model.parameters()).device

    def step() -> float:
        rows = [example.ids for example in draw()]
        batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt", padding_side="right").to(device)
        labels = batch["input_ids"].clone()
        for place, row in enumerate(rows):
            labels[place, len(row) + 1 :] = -100
        batch["labels"] = labels
        items = int(batch["attention_mask"].sum())
        optimizer.zero_grad()
        loss = model(**batch, num_items_in_batch=items).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        return float(loss.detach())

    return step


def linear_targets(model: nn.Module, endings: tuple[str, ...] = ("_proj",)) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name.endswith(endings)]
