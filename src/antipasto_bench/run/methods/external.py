"""A variant that another package gives as a function `attach(model, **settings)`.

Whatever the function does within the model is undone from a snapshot that is taken before it: for `disabled`, and for
`detach`. What it cannot be asked for is counted on the model, see flops.py.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from antipasto.config import AdapterError
from antipasto.merging import relative_error

from ...core.errors import first_line
from ...spec.config import RunConfig
from ...spec.methods.external_function import GENERATOR, FunctionMethod
from ..examples import Example
from .adapter import ADAPTER, Adapter, Counts, adamw
from .flops import added_macs
from .masters import MasterAdamW, at_least_float32
from .peft_state import seeded
from .snapshot import Snapshot
from .tensor_file import read_tensors, require_fit, save_tensors, settings_difference

OUTSIDE = "outside."  # begins the saved names of parameters that are in no module of the model


class ExternalAdapter(Adapter):
    """What a function of another package made of a model."""

    exports_peft: ClassVar[bool] = False

    def __init__(self, base: Any, method: FunctionMethod) -> None:
        super().__init__(base)
        self._method = method
        self._unmerged: Snapshot | None = None

    def attach(self, run: RunConfig, tokenizer: Any, examples: list[Example]) -> None:
        self._run = run
        self._required_grad = [p for p in self.base.parameters() if p.requires_grad]
        self._plain_names = [*self.base.state_dict()]
        self._base_tensors = {id(t): t for t in (*self.base.parameters(), *self.base.buffers())}
        self._before = Snapshot(self.base)
        try:
            returned = self._call(run)
            self._trained = _named(returned, self.base, self._method.variant)
            self._before.forget_unchanged([*self._trained.values()])
        except BaseException:
            self._before.forget_unchanged()
            self._before.restore()
            raise
        self.base.requires_grad_(False)
        for parameter in self._trained.values():
            parameter.requires_grad_(True)
        setattr(self.base, ADAPTER, self)

    def _call(self, run: RunConfig) -> Any:
        """The function on the model; torch's own random numbers come from the run's seed, too."""
        seed = run.seed + 2**32  # as the library's variants: not the examples' generator, which all variants share
        arguments = self._method.arguments(run.adapter)
        if self._method.takes_generator:
            arguments[GENERATOR] = Generator().manual_seed(seed)
        with seeded(seed):
            return _guarded(lambda: _whole(self._method.attach(self.base, **arguments)), self._method)

    def load(self, run: RunConfig, file: Path) -> None:
        saved = read_tensors(file, run)
        self.attach(run, None, [])
        try:
            there = self._own_tensors()
            require_fit(file, saved, there)
        except AdapterError:
            self.detach()
            raise
        with torch.no_grad():
            for name, tensor in there.items():
                tensor.copy_(saved[name])

    def save(self, file: Path) -> Path:
        return save_tensors(file, self._run, self._own_tensors())

    def _own_tensors(self) -> dict[str, Tensor]:
        """All tensors that the plain base lacks, or has with other values, each by the first of its names."""
        changed = {id(tensor) for tensor in self._before.changed_tensors}
        saved = self.base.state_dict()  # without what a module makes anew
        inside = (*self.base.named_parameters(), *self.base.named_buffers())
        outside = [(name, p) for name, p in self._trained.items() if name.startswith(OUTSIDE)]
        own: dict[int, tuple[str, Tensor]] = {}
        for name, tensor in (*((name, tensor) for name, tensor in inside if name in saved), *outside):
            if id(tensor) in changed or id(tensor) not in self._base_tensors:
                own.setdefault(id(tensor), (name, tensor))
        return dict(own.values())

    def check_file(self, run: RunConfig, file: Path) -> str | None:
        return settings_difference(file, run)

    def detach(self, *, keep_merged: bool = False) -> None:
        if not keep_merged:
            if self._unmerged is not None:
                self.unmerge()
            if (undo := self._method.detach) is not None:
                _guarded(lambda: undo(self.base), self._method)
            self._before.restore()
        for parameter in self._trained.values():
            parameter.grad = None
            parameter.grad_dtype = parameter.dtype
        self.base.requires_grad_(False)
        for parameter in self._required_grad:
            parameter.requires_grad_(True)
        if hasattr(self.base, ADAPTER):
            delattr(self.base, ADAPTER)

    def disabled(self) -> AbstractContextManager[Any]:
        return self._before.in_place()

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self._trained)

    def optimizer(self, run: RunConfig) -> torch.optim.Optimizer:
        if all(p.dtype == at_least_float32(p.dtype) for p in self._trained.values()):
            return adamw(run, self._trained)
        return MasterAdamW(list(self._trained.values()), lr=run.lr, weight_decay=run.weight_decay)

    def shared_tensors(self) -> Iterator[Tensor]:
        yield from self._own_tensors().values()

    def merge_refusal(self) -> str | None:
        return None if self._method.mergeable else f"{self._method.package} gives no way to merge {self._run.variant}"

    def merge(self) -> None:
        """By the package's own function, which has to leave a plain model; it is undone from a snapshot."""
        if (refusal := self.merge_refusal()) is not None or self._method.merge is None:
            raise AdapterError(refusal or "")
        merge, before = self._method.merge, Snapshot(self.base)
        try:
            with torch.no_grad():
                _guarded(lambda: merge(self.base), self._method)
            if [*self.base.state_dict()] != self._plain_names:
                raise AdapterError(f"{self._method.package}: what its merge leaves is no plain model")
        except BaseException:
            before.forget_unchanged()
            before.restore()
            raise
        before.forget_unchanged()
        self._unmerged = before

    def unmerge(self) -> None:
        assert self._unmerged is not None, "it is not merged"
        self._unmerged.restore()
        self._unmerged = None

    @contextmanager
    def _merged(self, dtype: torch.dtype | None) -> Iterator[None]:
        self.merge()
        try:
            with torch.no_grad():
                assert self._unmerged is not None
                for tensor in self._unmerged.changed_tensors if dtype is not None else ():
                    tensor.copy_(tensor.to(dtype))
            yield
        finally:
            self.unmerge()

    @torch.no_grad()
    def merge_error(self, batches: Iterable[Any], dtype: torch.dtype | None = None) -> float:
        if (refusal := self.merge_refusal()) is not None:
            raise AdapterError(refusal)
        return relative_error(self.base, batches, self.disabled, lambda: self._merged(dtype))

    def counts(self, run: RunConfig) -> Counts:
        own = self._own_tensors()
        computes = type(self.base).forward is not nn.Module.forward  # an outline has shapes alone
        return Counts(
            parameters=sum(p.numel() for p in self._trained.values()),
            macs=added_macs(self.base, self.disabled) if computes else None,
            saved_bytes=sum(tensor.nbytes for tensor in own.values()),
            frozen_bytes=sum(
                tensor.nbytes
                for tensor in own.values()
                if not tensor.requires_grad and id(tensor) not in self._base_tensors
            ),
            targets=len({name.rpartition(".")[0] for name in self._trained}),
        )

    def shape_counts(self, run: RunConfig) -> Counts:
        try:
            with torch.device("meta"):
                self.attach(run, None, [])
        except AdapterError as error:
            raise AdapterError(f"a model without weights is not enough for it, leave out --meta: {error}") from error
        return self.counts(run)

    def in_words(self) -> str:
        count = sum(p.numel() for p in self._trained.values())
        return f"{count:,} parameters in {len(self._trained)} tensors, as {self._method.package} does"

    def export_peft(self, folder: Path, base_model: str, revision: str | None) -> Path:
        raise AdapterError(f"{self._run.variant} of {self._method.package} is no adapter of PEFT's")


def _guarded(work: Callable[[], Any], method: FunctionMethod) -> Any:
    """What another package's function gives; an error in it, with its place, as an AdapterError."""
    try:
        return work()
    except AdapterError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}, line {last.lineno}"
        raise AdapterError(f"{method.package} failed ({place}): {first_line(error)}") from error


def _whole(returned: Any) -> Any:
    """What a function returned; of one that yields, all that it yields."""
    return list(returned) if isinstance(returned, Iterator) else returned


def _named(returned: Any, model: nn.Module, variant: str) -> dict[str, nn.Parameter]:
    """The parameters that a function returned, each once, by their names in the model.

    Raises:
        AdapterError: they are none, or no parameters.
    """
    if isinstance(returned, nn.Parameter) or not isinstance(returned, Mapping | Iterable):
        raise AdapterError(f"{variant}: attach returns the parameters to train, in a list or by name; not {returned!r}")
    pairs = returned.items() if isinstance(returned, Mapping) else enumerate(returned)
    inside = {id(parameter): name for name, parameter in model.named_parameters()}
    named: dict[int, tuple[str, nn.Parameter]] = {}
    for key, parameter in pairs:
        if not isinstance(parameter, nn.Parameter) or not parameter.is_floating_point():
            raise AdapterError(f"{variant}: attach returned {key!r}, which is no parameter that can be trained")
        named.setdefault(id(parameter), (inside.get(id(parameter), f"{OUTSIDE}{key}"), parameter))
    if not named:
        raise AdapterError(f"{variant}: attach returned no parameter to train")
    return dict(named.values())
