"""The model's own weights, trained in place: `full`, `layernorm` and `bitfit`.

The base's values are kept beside them, for `disabled` and `detach`. What is trained are the plain weights already:
merging has nothing to do, and its error is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from antipasto import find_targets, kinds_left_out, kinds_of
from antipasto.config import AdapterConfig, AdapterError
from antipasto.merging import relative_error

from ...core.device import free_on_gpu
from ...core.machine import free_memory
from ...spec.config import RunConfig
from ...spec.methods.weights import BITFIT, FULL, LAYERNORM, WeightsMethod
from ..examples import Example
from .adapter import ADAPTER, Adapter, Counts
from .masters import MasterAdamW, at_least_float32
from .originals import Originals, changed
from .tensor_file import read_tensors, require_fit, save_tensors, settings_difference

MOMENTS = 2  # of AdamW, each as large as the gradient


class WeightsAdapter(Adapter):
    """Fine-tuning of chosen parameters of the model; nothing is added to it."""

    exports_peft: ClassVar[bool] = False

    def __init__(self, base: Any) -> None:
        super().__init__(base)
        self._trained: dict[str, nn.Parameter] = {}
        self._left_out = ""

    def attach(self, run: RunConfig, tokenizer: Any, examples: list[Example]) -> None:
        chosen = chosen_parameters(self.base, run)
        _require_memory(chosen)
        self._put(run, chosen)

    def _put(self, run: RunConfig, chosen: dict[str, nn.Parameter]) -> None:
        self._run, self._trained = run, chosen
        self._originals = Originals.of(chosen.values())
        self._required_grad = [p for p in self.base.parameters() if p.requires_grad]
        self.base.requires_grad_(False)
        for parameter in chosen.values():
            parameter.requires_grad_(True)
        selection = _selection(run)
        self._left_out = "" if selection is None else kinds_left_out(self.base, selection)
        setattr(self.base, ADAPTER, self)

    def load(self, run: RunConfig, file: Path) -> None:
        chosen = chosen_parameters(self.base, run)
        saved = read_tensors(file, run)
        require_fit(file, saved, chosen)
        self._put(run, chosen)
        with torch.no_grad():
            for name, parameter in chosen.items():
                parameter.copy_(saved[name])

    def save(self, file: Path) -> Path:
        return save_tensors(file, self._run, self._trained)

    def check_file(self, run: RunConfig, file: Path) -> str | None:
        return settings_difference(file, run)

    def detach(self, *, keep_merged: bool = False) -> None:
        if not keep_merged:
            self._originals.restore()
        for parameter in self._trained.values():
            parameter.grad = None
            parameter.grad_dtype = parameter.dtype
            parameter.requires_grad_(False)
        for parameter in self._required_grad:
            parameter.requires_grad_(True)
        delattr(self.base, ADAPTER)

    def disabled(self) -> AbstractContextManager[Any]:
        return self._originals.in_place()

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self._trained)

    def optimizer(self, run: RunConfig) -> torch.optim.Optimizer:
        if all(p.dtype == at_least_float32(p.dtype) for p in self._trained.values()):
            return super().optimizer(run)
        return MasterAdamW(list(self._trained.values()), lr=run.lr, weight_decay=run.weight_decay)

    def shared_tensors(self) -> Iterator[Tensor]:
        yield from self._trained.values()

    def merge_refusal(self) -> str | None:
        return None

    def merge(self) -> None:
        """Nothing: the weights are those that were trained."""

    def unmerge(self) -> None:
        """Nothing, as `merge`."""

    @torch.no_grad()
    def merge_error(self, batches: Iterable[Any], dtype: torch.dtype | None = None) -> float:
        """0, unless the weights are to be rounded to a dtype that does not hold them."""
        trained = list(self._trained.values())
        if dtype is None or all(torch.promote_types(p.dtype, dtype) == dtype for p in trained):
            return 0.0
        rounded = lambda: changed(trained, lambda p: p.detach().to(dtype))  # noqa: E731
        return relative_error(self.base, batches, self.disabled, rounded)

    def counts(self, run: RunConfig) -> Counts:
        return _counts(self._trained)

    def shape_counts(self, run: RunConfig) -> Counts:
        return _counts(chosen_parameters(self.base, run))

    def in_words(self) -> str:
        trained = sum(p.numel() for p in self._trained.values())
        if self._run.variant == FULL and _selection(self._run) is None:
            return f"every parameter of the model, {trained:,}"
        left_out = f"; all-linear leaves out {self._left_out}" if self._left_out else ""
        return f"{trained:,} weights themselves, in {kinds_of(_modules(self._trained))}{left_out}"

    def export_peft(self, folder: Path, base_model: str, revision: str | None) -> Path:
        raise AdapterError(
            f"{self._run.variant} changes the model's own weights, which is no adapter of PEFT's; export a whole model "
            "by --merged"
        )


def chosen_parameters(model: nn.Module, run: RunConfig) -> dict[str, nn.Parameter]:
    """The parameters that a run trains, each once and by its first name in the model, in the model's order.

    Raises:
        AdapterError: there are none, a pattern names nothing, or one is quantised or of 16 bits without an exponent
            as wide as float32's.
    """
    chosen = {id(parameter) for parameter in _choose(model, run)}
    named = {name: p for name, p in model.named_parameters() if id(p) in chosen}
    for name, parameter in named.items():
        if not parameter.is_floating_point() or parameter.dtype.itemsize < 2:
            raise AdapterError(f"{name} is quantised, and its codes cannot be trained; write quant=none")
        if parameter.dtype == torch.float16:
            raise AdapterError(f"{name} is float16, in which its gradients vanish; write dtype=bfloat16 or float32")
    return named


def _selection(run: RunConfig) -> AdapterConfig | None:
    return WeightsMethod(run.variant).selection(run.adapter)


def _choose(model: nn.Module, run: RunConfig) -> Iterable[nn.Parameter]:
    if run.variant == LAYERNORM:
        norms = [module for module in model.modules() if "norm" in type(module).__name__.lower()]
        parameters = [p for norm in norms for p in norm.parameters(recurse=False)]
        if not parameters:
            raise AdapterError("this model has no norm with parameters")
        return parameters
    if run.variant == BITFIT:
        biases = [p for name, p in model.named_parameters() if name.rpartition(".")[2].endswith("bias")]
        if not biases:
            raise AdapterError("this model has no bias, so there is nothing to train")
        return biases
    if (selection := _selection(run)) is None:
        return model.parameters()
    targets: Iterable[Any] = find_targets(model, selection).values()
    return [parameter for target in targets for parameter in target.parameters()]


def _modules(parameters: Mapping[str, nn.Parameter]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(".")[0] for name in parameters))


def _counts(parameters: Mapping[str, nn.Parameter]) -> Counts:
    return Counts(
        parameters=sum(p.numel() for p in parameters.values()),
        saved_bytes=sum(p.nbytes for p in parameters.values()),
        targets=len(_modules(parameters)),
    )


def _require_memory(parameters: Mapping[str, nn.Parameter]) -> None:
    """Raise AdapterError where gradients, moments and float32 copies would not fit into what is free."""
    needed: dict[torch.device, int] = {}
    for parameter in parameters.values():
        summed = at_least_float32(parameter.dtype)
        copies = 1 + MOMENTS + (summed != parameter.dtype)
        needed[parameter.device] = needed.get(parameter.device, 0) + parameter.numel() * summed.itemsize * copies
        if parameter.device.type == "cpu":
            needed[parameter.device] += parameter.nbytes  # of the base's own values
    for device, size in needed.items():
        free = free_on_gpu(device) if device.type == "cuda" else free_memory()
        if size > free:
            count = sum(p.numel() for p in parameters.values())
            raise AdapterError(
                f"gradients, moments and float32 copies of {count:,} trained weights take {size / 1e9:.1f} GB, and "
                f"{device} has {free / 1e9:.1f} GB free; train fewer by targets=, or take a machine with more"
            )
