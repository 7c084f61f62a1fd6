"""What one run loaded and the next can use: the base model, its data, and costs that were measured already.

A model is lent to one run at a time. It is kept only if it comes back as it went: without an adapter, and with the same
bits in every weight.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn

import antipasto

from ..spec.config import BASE, DataConfig, EvalConfig, RunConfig
from .attach import drawn_examples
from .data import Example, Splits, load_splits
from .models import load_model

SEEDS = 4  # whose examples are kept


@dataclass
class _Loaded:
    what: tuple[Any, ...]
    model: Any
    tokenizer: Any
    bits: dict[str, int]


class Bases:
    """Those of one process; the last model, the last data and the last few seeds' examples are kept."""

    def __init__(self) -> None:
        self.costs: dict[str, dict[str, Any]] = {}  # by `cost_key`
        self._loaded: _Loaded | None = None
        self._splits: tuple[tuple[DataConfig, EvalConfig], Splits] | None = None
        self._examples: dict[tuple[Any, ...], list[Example]] = {}
        self._lent = False

    @property
    def keep_a_model(self) -> bool:
        return self._loaded is not None

    def model(self, run: RunConfig) -> tuple[Any, Any]:
        """The run's base model and tokenizer, as `load_model` gives them."""
        what = (run.model, run.revision, run.dtype, run.quant, run.device, run.device_map)
        if self._loaded is None or self._loaded.what != what:
            self.forget()
            model, tokenizer = load_model(run)
            self._loaded = _Loaded(what, model, tokenizer, _bits(model))
        self._lent = True
        return self._loaded.model, self._loaded.tokenizer

    def splits(self, run: RunConfig) -> Splits:
        what = (run.data, run.eval)
        if self._splits is None or self._splits[0] != what:
            self._splits = (what, load_splits(run.data, run.eval))
        return self._splits[1]

    def examples(self, run: RunConfig, tokenizer: Any) -> list[Example]:
        """What the run trains on, as `drawn_examples` gives it, tokenised once for all runs that see the same."""
        drawn = (run.model, run.revision, run.data, run.eval, run.seed, run.steps * run.batch_size * run.grad_accum)
        if drawn not in self._examples:
            while len(self._examples) >= SEEDS:
                del self._examples[next(iter(self._examples))]
            self._examples[drawn] = drawn_examples(run, tokenizer, self.splits(run))
        return self._examples[drawn]

    def give_back(self, run: RunConfig, model: nn.Module) -> None:
        """Take the adapter off, and keep the model for the next run where nothing of it has changed."""
        if run.variant != BASE:
            antipasto.detach(model)
        self._lent = False
        if self._loaded is not None and _bits(model) != self._loaded.bits:
            warnings.warn(f"{run.model} is not as it was before {run.variant}; it is loaded anew", stacklevel=2)
            self.forget()

    def drop_lent(self) -> None:
        """Forget a model that did not come back: whatever was done to it is not undone."""
        if self._lent:
            self.forget()

    def forget(self) -> None:
        self._loaded = None
        self._lent = False


def _bits(model: nn.Module) -> dict[str, Any]:
    return antipasto.bits_of(dict(model.named_parameters()) | dict(model.named_buffers()))
