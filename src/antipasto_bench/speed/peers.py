"""The arms that suites compare: a base, our adapters on it, and peft's, trained as peft's own comparison trains.

A table of arms maps a name to a function that builds the arm's model and returns its training step: models are built
when they are needed, as not all fit into memory at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import repeat
from typing import Any

import peft
import torch
from torch import Tensor, nn

import antipasto

from ..run.attach import attach
from ..run.completion_loss import CompletionLoss
from ..run.evaluate import Evaluation
from ..run.examples import IGNORED, Example, collate
from ..run.model_cache import ModelCache
from ..run.models import load_model
from ..run.step import AdapterOptimizer
from ..spec.compose import compose
from ..spec.config import BASE, RunConfig

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingStep:
    """A model, and a function that takes one training step of it."""

    model: nn.Module
    take: Callable[[], Any]

    def __call__(self) -> Any:
        return self.take()


Arms = dict[str, Callable[[], TrainingStep]]

# peft's methods, each by our name for the same method where we have it: (rank, target modules) -> config.
PEFT_CONFIGS: dict[str, Callable[[int, list[str]], peft.PeftConfig]] = {
    "lora": lambda r, names: peft.LoraConfig(r=r, lora_alpha=2 * r, target_modules=names),
    "dora": lambda r, names: peft.LoraConfig(r=r, lora_alpha=2 * r, use_dora=True, target_modules=names),
    "pissa": lambda r, names: peft.LoraConfig(r=r, lora_alpha=r, init_lora_weights="pissa", target_modules=names),
    "delora": lambda r, names: peft.DeloraConfig(r=r, target_modules=names),
    "hra": lambda r, names: peft.HRAConfig(r=r, target_modules=names),
    "road": lambda r, names: peft.RoadConfig(variant="road_1", group_size=64, target_modules=names),
    "ia3": lambda r, names: peft.IA3Config(target_modules=names, feedforward_modules=[]),
    "psoft": lambda r, names: peft.PsoftConfig(r=r, psoft_alpha=r, target_modules=names),
}

# The variant of ours that each of them is compared with: the same method, or the nearest to it.
VARIANT_BESIDE = {name: name for name in PEFT_CONFIGS} | {"psoft": "antipasto"}


def base_step(model: Any, batch: Batch, targets: Iterable[str]) -> TrainingStep:
    """Forward and backward, from the loss to the first of the target layers: the work that no adapter can avoid."""
    model.train().requires_grad_(False)
    for name in targets:
        model.get_submodule(name).register_forward_hook(lambda module, args, out: out.requires_grad_())
    loss = CompletionLoss(model)
    return TrainingStep(model, lambda: torch.autograd.backward(loss(batch)))


def our_step(model: Any, run: RunConfig, draw: Callable[[], Batch]) -> TrainingStep:
    """A step of our training loop, of a model with an adapter."""
    optimizer = AdapterOptimizer(model.train(), run)
    return TrainingStep(model, lambda: optimizer.step([draw()], run.lr).read())


def peft_step(model: nn.Module, draw: Callable[[], Batch], steps: int = 1000, lr: float = 1e-4) -> TrainingStep:
    """Forward, backward, clip, AdamW, cosine schedule; padding the batch, in `draw`, is part of the step."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    device = next(model.parameters()).device

    def take() -> float:
        batch = {key: value.to(device) for key, value in draw().items()}
        items = int(batch["attention_mask"].sum())
        optimizer.zero_grad()
        loss = model(**batch, num_items_in_batch=items).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        return float(loss.detach())

    return TrainingStep(model, take)


def pad_as_peft(tokenizer: Any, examples: list[Example]) -> Batch:
    """A batch as peft's comparison pads it: all but padding bears loss, and one end token of the padding."""
    rows = [example.ids for example in examples]
    batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt", padding_side="right")
    labels = batch["input_ids"].clone()
    for row, ids in enumerate(rows):
        labels[row, len(ids) + 1 :] = IGNORED
    return {**batch, "labels": labels}


class PresetArms:
    """Arms at one preset's settings, on its model, examples and batches; each arm has a model of its own."""

    def __init__(self, preset: str, **settings: Any) -> None:
        self.preset, self.settings = preset, settings
        self.models = ModelCache()
        run = self.config("lora")
        _, self.tokenizer = self.models.model(run)
        if run.data.overlap == "drop":  # rows that a run leaves out, because they hold a test question
            self.models.splits_to_train(run, Evaluation(run.eval, None).test_questions)
        self.examples = self.models.examples(run, self.tokenizer)
        self.first_examples = self.examples[: run.batch_size]

    def config(self, variant: str, **settings: Any) -> RunConfig:
        # With the threads of this process, as peft has them, whatever the preset pins.
        return compose(variant, {"threads": None} | self.settings | settings, self.preset)

    def batch(self) -> Batch:
        return collate(self.first_examples, self.tokenizer.pad_token_id)

    def model(self, run: RunConfig) -> Any:
        return load_model(run)[0]

    @cached_property
    def linear_layers(self) -> list[str]:
        """Names of all linear layers of the blocks."""
        return linear_layers(self.model(self.config(BASE)))

    def base(self, targets: Iterable[str]) -> TrainingStep:
        return base_step(self.model(self.config(BASE)), self.batch(), targets)

    def ours(self, variant: str, **settings: Any) -> TrainingStep:
        run = self.config(variant, **settings)
        model = self.model(run)
        attach(run, model, self.tokenizer, self.examples)
        return our_step(model, run, self.batch)

    def peft(self, method: str, r: int, targets: list[str]) -> TrainingStep:
        model = wrap_in_peft(self.model(self.config("lora")), PEFT_CONFIGS[method](r, targets))
        return peft_step(model, lambda: pad_as_peft(self.tokenizer, self.first_examples))

    def arms(self) -> Arms:
        """The base, every variant at the preset's setting, and every method of PEFT_CONFIGS at the same setting."""
        keys_and_values = [name for name in self.linear_layers if name.endswith(("k_proj", "v_proj"))]
        arms: Arms = {"base": partial(self.base, self.linear_layers)}
        for name, variant in antipasto.REGISTRY.items():
            if variant.config.trains:
                arms[name] = partial(self.ours, name)
        arms["antipasto both"] = partial(self.ours, "antipasto", rotate_basis="both")
        for method in PEFT_CONFIGS:
            r = 64 if method == "psoft" else 16
            targets = keys_and_values if method == "ia3" else self.linear_layers
            arms[f"peft {method}"] = partial(self.peft, method, r, targets)
        return arms


DOWN_PROJ = ("down_proj",)
BY_GRAPHS = " by CUDA graphs"
FROZEN_RANK, RANK = 256, 32  # in a frozen basis and for psoft; of all others


def down_proj_arms(
    build_model: Callable[[], Any], batch: Batch, batches: Callable[[], Iterator[Batch]] | None = None
) -> Arms:
    """The base, every variant of ours and every method of PEFT_CONFIGS on the `down_proj` layers of a model.

    On a GPU also every variant of ours BY_GRAPHS.

    Args:
        build_model: gives a new model each time.
        batch: that every step takes; variants that look at data are calibrated on it.
        batches: of an adapter's steps, one after the other, in place of `batch`; called anew for each arm.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = compose("lora", {}, "nano")  # only for the optimizer's settings
    by_graphs = run.model_copy(update={"cuda_graphs": True})
    calibration = [{key: value for key, value in batch.items() if key != "labels"}]

    def draw() -> Callable[[], Batch]:
        drawn = repeat(batch) if batches is None else batches()
        return lambda: next(drawn)

    def base() -> TrainingStep:
        model = build_model().to(device)
        return base_step(model, batch, linear_layers(model, DOWN_PROJ))

    def ours(cfg: antipasto.AdapterConfig, run: RunConfig = run) -> TrainingStep:
        data = calibration if cfg.needs_data() else None
        return our_step(antipasto.attach(build_model().to(device), cfg, data), run, draw())

    def theirs(config: peft.PeftConfig) -> TrainingStep:
        return peft_step(wrap_in_peft(build_model().to(device), config), draw())

    arms: Arms = {"base": base}
    for name, variant in antipasto.REGISTRY.items():
        if variant.config.trains:
            frozen = issubclass(antipasto.CONFIGS[name], antipasto.FrozenBasisConfig)
            cfg = antipasto.CONFIGS[name](r=FROZEN_RANK if frozen else RANK, target_names=DOWN_PROJ)
            arms[name] = partial(ours, cfg)
            if device == "cuda":
                arms[name + BY_GRAPHS] = partial(ours, cfg, by_graphs)
    for method, config_of in PEFT_CONFIGS.items():
        config = config_of(FROZEN_RANK if method == "psoft" else RANK, list(DOWN_PROJ))
        if isinstance(config, peft.PsoftConfig):
            config.psoft_svd = "lowrank"  # a full SVD takes minutes of attaching, and does not change the step
        arms[f"peft {method}"] = partial(theirs, config)
    return arms


def wrap_in_peft(model: Any, config: peft.PeftConfig) -> nn.Module:
    return peft.get_peft_model(model, config)


def linear_layers(model: nn.Module, endings: tuple[str, ...] = ("_proj",)) -> list[str]:
    """Names of the linear layers whose names end so."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name.endswith(endings)]
