"""What one run loaded and the next can use: the base model, its losses, its data, its examples, and measured costs.

A model is lent to one run at a time. It stays in the cache only if it comes back as it went: without an adapter, and
with the same checksum of every weight, and no module or hook is new.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import antipasto
from antipasto.quantised import quantisation, repacked

from ..core.fingerprint import model_fingerprint
from ..spec.config import DataConfig, EvalConfig, RunConfig
from ..store.origins import CostsOrigin
from ..store.record import Costs
from .data import Splits, load_splits
from .examples import Example, drawn_examples
from .methods.registry import adapter_on
from .models import load_model
from .overlap import Overlap, without_test_questions

SEEDS = 4  # the examples of so many are cached
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")  # of torch's modules


@dataclass
class _Loaded:
    settings: tuple[Any, ...]  # that it was loaded by
    model: Any
    tokenizer: Any
    checksums: dict[str, int]


@dataclass(frozen=True)
class MeasuredCosts:
    """The costs of an adapter, and where and when they were measured."""

    costs: Costs
    origin: CostsOrigin


class ModelCache:
    """Caches the last model, the last data and a few seeds' examples of this process."""

    def __init__(self) -> None:
        self.costs: dict[tuple[str, str], MeasuredCosts] = {}  # by RunConfig.cost_key and the training rows' sha256
        self._loaded: _Loaded | None = None
        self._splits: tuple[tuple[DataConfig, EvalConfig], Splits] | None = None
        self._to_train: tuple[tuple[DataConfig, EvalConfig], tuple[Splits, Overlap]] | None = None
        self._examples: dict[tuple[Any, ...], list[Example]] = {}
        self._untuned_losses: dict[tuple[Any, ...], float] = {}
        self._untuned_general_losses: dict[tuple[Any, ...], tuple[float | None, int]] = {}
        self._lent = False

    @property
    def holds_a_model(self) -> bool:
        return self._loaded is not None

    def model(self, run: RunConfig) -> tuple[Any, Any]:
        """The run's base model and tokenizer, as `load_model` gives them."""
        settings = (run.model, *_of_model(run), run.trust_remote_code, run.device_map)
        if self._loaded is None or self._loaded.settings != settings:
            self.drop_model()
            model, tokenizer = load_model(run)
            self._loaded = _Loaded(settings, model, tokenizer, _checksums(model))
        self._lent = True
        return self._loaded.model, self._loaded.tokenizer

    def splits(self, run: RunConfig) -> Splits:
        """The run's splits as `load_splits` gives them."""
        return self._all_rows(run).first(run.data.limit)

    def _all_rows(self, run: RunConfig) -> Splits:
        settings = _of_rows(run)
        if self._splits is None or self._splits[0] != settings:
            self._splits = (settings, load_splits(run.data.model_copy(update={"limit": None}), run.eval))
        return self._splits[1]

    def splits_to_train(self, run: RunConfig, questions: Sequence[str]) -> tuple[Splits, Overlap]:
        """The run's splits as `without_test_questions` allows them, once for all runs of these data and this test.

        `examples` are drawn from them then.
        """
        settings = _of_rows(run)
        if self._to_train is None or self._to_train[0] != settings:
            self._to_train = (settings, without_test_questions(self._all_rows(run), questions, run.data))
            self._examples = {key: value for key, value in self._examples.items() if key[2:4] != settings}
        return self._to_train[1]

    def examples(self, run: RunConfig, tokenizer: Any) -> list[Example]:
        """The run's training examples as `drawn_examples` gives them, tokenised once for all runs that share them."""
        count = run.steps * run.batch_size * run.grad_accum
        key = (run.model, run.revision, *_of_rows(run), run.seed, count, run.loss_on)
        if key not in self._examples:
            while len(self._examples) >= SEEDS:
                del self._examples[next(iter(self._examples))]
            if self._to_train is not None and self._to_train[0] == _of_rows(run):
                splits, _ = self._to_train[1]
            else:
                splits = self.splits(run)
            self._examples[key] = drawn_examples(run, tokenizer, splits)
        return self._examples[key]

    def untuned_loss(self, run: RunConfig, measure: Callable[[], float]) -> float:
        """The held-out loss of the run's base model, measured once for all runs of the same model and questions.

        Args:
            measure: with the model as it was lent, before an adapter is attached.
        """
        key = (*_of_model(run), run.data, run.eval)
        if key not in self._untuned_losses:
            self._untuned_losses[key] = measure()
        return self._untuned_losses[key]

    def untuned_general_loss(
        self, run: RunConfig, texts: str, measure: Callable[[], tuple[float | None, int]]
    ) -> tuple[float | None, int]:
        """The loss of the run's base model on general text, measured once for all runs of the same model and texts.

        Args:
            texts: their sha256.
            measure: as in `untuned_loss`; gives loss and tokens.
        """
        key = (*_of_model(run), run.threads, run.data.max_length, texts)
        if key not in self._untuned_general_losses:
            self._untuned_general_losses[key] = measure()
        return self._untuned_general_losses[key]

    def give_back(self, run: RunConfig, model: nn.Module) -> None:
        """Take the adapter off, and leave the model for the next run unless some weight has changed.

        On some CPUs bitsandbytes repacks 4-bit weights when they are evaluated, for good: such a model can be
        trained on no more, and is dropped.
        """
        if (adapter := adapter_on(model)) is not None:
            adapter.detach()
        self._lent = False
        if any(quantisation(module) == "4-bit" and repacked(module) for module in model.modules()):
            self.drop_model()
        elif self._loaded is not None and _checksums(model) != self._loaded.checksums:
            warnings.warn(f"{run.model} is not as it was before {run.variant}; it is loaded anew", stacklevel=2)
            self.drop_model()

    def drop_lent(self) -> None:
        """Drop a model that did not come back: whatever was done to it is not undone."""
        if self._lent:
            self.drop_model()

    def drop_model(self) -> None:
        self._loaded = None
        self._lent = False

    def free_memory(self) -> None:
        """Give back what nothing refers to any more."""
        if torch.cuda.is_available() or not self.holds_a_model:
            gc.collect()  # hooks and layers refer to each other: without this the model would outlive its use
        if torch.cuda.is_available():
            with suppress(RuntimeError):  # a GPU in an error state says so where it is used next
                torch.cuda.empty_cache()


def _of_rows(run: RunConfig) -> tuple[DataConfig, EvalConfig]:
    """What the rows of a run depend on: not on how many of them are for calibration, of which variants differ."""
    return run.data.model_copy(update={"calibration": 1}), run.eval


def _of_model(run: RunConfig) -> tuple[Any, ...]:
    """What the losses of a run's base model depend on, beside the text."""
    return model_fingerprint(run.model), run.revision, run.dtype, run.quant, run.device


def _checksums(model: nn.Module) -> dict[str, int]:
    """Of every weight and buffer by its name; and each module's class, hooks and whether its forward is another."""
    weights = antipasto.tensor_checksums(dict(model.named_parameters()) | dict(model.named_buffers()))
    return weights | {f"{name}: {_structure(module)}": 0 for name, module in model.named_modules()}


def _structure(module: nn.Module) -> str:
    hooks = [len(getattr(module, name, ())) for name in HOOKS]
    return f"{type(module).__qualname__} {hooks} {'forward' in vars(module)}"
