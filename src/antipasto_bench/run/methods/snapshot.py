"""What a model was before somebody else's code changed it: its modules' attributes, and the values of its tensors.

Modules are put back as the objects that they are, so whoever holds one need not know. Not seen are changes outside of
the model, such as of a class, and within an object that is no module, such as its configuration.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from antipasto.config import AdapterError

from .originals import Originals, on_cpu

_OF_NOW = {"training"}  # attributes that are never put back
_TABLES = ("dict", "list", "set", "OrderedDict")
_MISSING = object()


class Snapshot:
    """A model as it is now; after `forget_unchanged`, what of that is not so any more."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = {module: _Module.of(module) for module in model.modules()}
        self._changes: dict[nn.Module, set[str]] = {}
        tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        self._values: list[tuple[Tensor, Tensor]] = [(tensor, on_cpu(tensor)) for tensor in tensors.values()]

    def forget_unchanged(self, trained: Collection[Tensor] = ()) -> None:
        """Keep only what has been changed since, and the values of tensors that will be trained in place.

        Raises:
            AdapterError: a tensor has another shape or dtype than it had.
        """
        ids = {id(tensor) for tensor in trained}
        for tensor, kept in self._values:
            if (tensor.shape, tensor.dtype) != (kept.shape, kept.dtype):
                raise AdapterError(f"a tensor of the base, {tuple(kept.shape)}, was given another shape or dtype")
        self._values = [(tensor, kept) for tensor, kept in self._values if id(tensor) in ids or not _same(tensor, kept)]
        self._changes = {module: names for module in self._modules if (names := self._changed(module))}
        self._modules = {module: self._modules[module] for module in self._changes}

    @property
    def changed_tensors(self) -> list[Tensor]:
        """The tensors whose values are kept."""
        return [tensor for tensor, _ in self._values]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model as it was, for the length of a block; then as it was before the block."""
        now = {module: _Module.of(module) for module in self._changes}
        with Originals(self._values).in_place():
            self._put(self._modules)
            try:
                yield
            finally:
                self._put(now)

    def restore(self) -> None:
        """The model as it was, for good."""
        self._put(self._modules)
        Originals(self._values).restore()

    def _changed(self, module: nn.Module) -> set[str]:
        """The attributes of a module that are other objects now, or tables of other objects; `__class__`, too."""
        was, now = self._modules[module], _Module.of(module)
        return {
            name
            for name in {*was.attributes, *now.attributes}
            if was.attributes.get(name, _MISSING) is not now.attributes.get(name, _MISSING)
            or not _same_table(was.tables.get(name), now.tables.get(name))
        }

    def _put(self, states: dict[nn.Module, _Module]) -> None:
        for module, names in self._changes.items():
            state = states[module]
            for name in names:
                value = state.attributes.get(name, _MISSING)
                if name == "__class__":
                    module.__class__ = value
                elif value is _MISSING:
                    vars(module).pop(name, None)
                else:
                    vars(module)[name] = value
                    if name in state.tables:
                        _fill(value, state.tables[name])


class _Module(NamedTuple):
    """A module's attributes, its class among them, and copies of those that are tables: submodules, hooks, ..."""

    attributes: dict[str, Any]
    tables: dict[str, Any]

    @classmethod
    def of(cls, module: nn.Module) -> _Module:
        attributes = {name: value for name, value in vars(module).items() if name not in _OF_NOW}
        tables = {name: value.copy() for name, value in attributes.items() if type(value).__name__ in _TABLES}
        return cls(attributes | {"__class__": type(module)}, tables)


def _same_table(was: Any, now: Any) -> bool:
    if type(was) is not type(now) or was is None or isinstance(was, set):
        return bool(was == now)
    first, second = (list(table.items()) if isinstance(table, dict) else list(enumerate(table)) for table in (was, now))
    return len(first) == len(second) and all(a[0] == b[0] and a[1] is b[1] for a, b in zip(first, second, strict=True))


def _fill(table: Any, content: Any) -> None:
    table.clear()
    if isinstance(table, list):
        table.extend(content)
    else:
        table.update(content)


def _same(tensor: Tensor, kept: Tensor) -> bool:
    return tensor.is_meta or torch.equal(tensor.detach().cpu(), kept)
