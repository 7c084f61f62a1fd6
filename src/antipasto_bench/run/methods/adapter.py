"""What every kind of variant does to a model: attach, train, save, load, take off, merge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...core.json_types import Json
from ...spec.config import RunConfig
from ..examples import Example

ADAPTER = "_bench_adapter"  # attribute of a model, see `registry.adapter_on`


def adamw(run: RunConfig, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of every variant, unless a run names another: at one learning rate, or B at `lr_ratio` times it."""
    groups: list[Json] = [{"params": list(parameters.values())}]
    if run.lr_ratio != 1:
        is_b = {name: ".lora_B." in f"{name}." for name in parameters}
        of_a, of_b = ([p for name, p in parameters.items() if is_b[name] == b] for b in (False, True))
        groups = [{"params": of_a}, {"params": of_b, "lr": run.lr_ratio * run.lr}]
    return torch.optim.AdamW(groups, lr=run.lr, weight_decay=run.weight_decay, fused=True)


@dataclass
class Counts:
    """What an adapter adds to a model, counted from shapes.

    Args:
        macs: multiply-accumulates of matrix products that a token's forward adds; None where nothing tells.
        saved_bytes: of the tensors in a saved file.
        frozen_bytes: of what stands beside the trained parameters in memory.
        targets: layers that it changes.
    """

    parameters: int = 0
    macs: int | None = 0
    saved_bytes: int = 0
    frozen_bytes: int = 0
    targets: int = 0


class Adapter(ABC):
    """A variant on a model. Made for a plain model; `attach` or `load` then puts it there.

    Attributes:
        base: the model as it was loaded, changed in place.
        model: what is trained, scored and called; `base` itself unless the adapter stands before it.
    """

    exports_peft: ClassVar[bool] = True  # whether `export_peft` can be tried
    takes_padding: bool = True  # whether prompts of a batch may be padded to the left: positions are those of prompts
    mixes_tokens: bool = False  # whether what it adds to one token's output depends on the other tokens of the batch

    def __init__(self, base: Any) -> None:
        self.base = base
        self.model = base

    @abstractmethod
    def attach(self, run: RunConfig, tokenizer: Any, examples: list[Example]) -> None:
        """Put the untrained adapter there: its random tensors from the run's seed, and all but them frozen.

        Args:
            examples: of training; an adapter that needs data looks at the first `data.calibration`.

        Raises:
            AdapterError: it does not fit the model or the data; the model is then as it was.
        """

    @abstractmethod
    def load(self, run: RunConfig, file: Path) -> None:
        """Put a saved adapter there, as `save` wrote it, to the last bit.

        Raises:
            AdapterError: the file is none of this run's variant, is damaged, or does not fit the model.
        """

    @abstractmethod
    def save(self, file: Path) -> Path:
        """Write all that `load` needs into one safetensors file, atomically.

        Raises:
            OSError: it could not be written.
        """

    @abstractmethod
    def check_file(self, run: RunConfig, file: Path) -> str | None:
        """In what the settings in a saved file are not those of a run; None where they are.

        Raises:
            AdapterError: it cannot be read.
        """

    @abstractmethod
    def detach(self, *, keep_merged: bool = False) -> None:
        """Take it off: the base is as it was, or holds the merged weights for good."""

    @abstractmethod
    def disabled(self) -> AbstractContextManager[Any]:
        """The base model's own outputs for the length of a `with` block."""

    @abstractmethod
    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""

    def optimizer(self, run: RunConfig) -> torch.optim.Optimizer:
        """The run's optimizer over what is trained.

        Raises:
            AdapterError: it is not made for this adapter.
        """
        return adamw(run, self.trainable_parameters())

    def penalty(self) -> Tensor | None:
        """What a step's loss has added to it, beside the loss of the data, in the method's own definition."""
        return None

    def after_step(self, step: int) -> None:  # noqa: B027  # of most, nothing
        """Called after the optimizer has taken a step, while the gradients are there. Steps count from 1."""

    @abstractmethod
    def shared_tensors(self) -> Iterator[Tensor]:
        """Every tensor that several processes must have alike before they train, in an order that all share."""

    @abstractmethod
    def merge_refusal(self) -> str | None:
        """Why it cannot be merged into the weights; None where it can."""

    @abstractmethod
    def merge(self) -> None:
        """Merge it into the weights, so that the base computes it alone.

        Raises:
            AdapterError: it cannot be merged.
        """

    @abstractmethod
    def unmerge(self) -> None:
        """Undo `merge`, exactly."""

    @abstractmethod
    def merge_error(self, batches: Iterable[Any], dtype: torch.dtype | None = None) -> float:
        """As `antipasto.merge_error`: |merged - unmerged| / |unmerged - base| over the outputs of some batches."""

    @abstractmethod
    def counts(self, run: RunConfig) -> Counts:
        """What the attached adapter adds."""

    @abstractmethod
    def shape_counts(self, run: RunConfig) -> Counts:
        """What it would add to a model on the meta device, nothing attached yet.

        Raises:
            AdapterError: it does not fit the model.
        """

    @abstractmethod
    def in_words(self) -> str:
        """Which layers have it, for people."""

    @abstractmethod
    def export_peft(self, folder: Path, base_model: str, revision: str | None) -> Path:
        """Write a folder that PEFT loads.

        Raises:
            AdapterError: PEFT has nothing like it, or the folder is in the way.
        """
