"""What PEFT does to a model, taken down so that it can be saved whole and undone exactly."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from antipasto import tensor_checksums

from ...core.json_types import Json

# What a module's own dictionaries hold, of which a snapshot has copies.
_TABLES = (
    "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_forward_hooks", "_forward_pre_hooks",
    "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called", "_backward_hooks",
)  # fmt: skip


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Every generator that PEFT may draw from, set for the length of a `with` block, and then as it was before."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    own, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(own)
        np.random.set_state(of_numpy)


@dataclass(frozen=True)
class Snapshot:
    """A model's modules with their attributes, and the tensors that they hold."""

    modules: list[tuple[nn.Module, Json]]
    tensors: dict[str, tuple[Tensor, Tensor, bool]]  # by path: the tensor, its data, whether it needs a gradient

    @classmethod
    def of(cls, model: nn.Module, *, copies: bool = False) -> Snapshot:
        """
        Args:
            copies: of the data, for what changes tensors in their place; else they are held by reference.
        """
        modules = [(module, _attributes(module)) for module in model.modules()]
        tensors = named_tensors(model).items()
        return cls(modules, {name: (t, t.data.clone() if copies else t.data, t.requires_grad) for name, t in tensors})

    def restore(self, *, data: bool = True) -> None:
        """Put back every attribute, and every tensor as it was where its data were replaced.

        Args:
            data: False to leave in the tensors what they hold now.
        """
        for module, attributes in self.modules:
            training = module.training
            module.__dict__.clear()
            module.__dict__.update(_copied(attributes))
            module.training = training
        for tensor, values, needs_gradient in self.tensors.values():
            if data and tensor.data_ptr() != values.data_ptr():
                tensor.data = values
            tensor.grad = None
            tensor.requires_grad_(needs_gradient)

    @property
    def ids(self) -> set[int]:
        return {id(tensor) for tensor, _, _ in self.tensors.values()}


def _attributes(module: nn.Module) -> Json:
    return _copied(vars(module))


def _copied(attributes: Mapping[str, Any]) -> Json:
    return {name: value.copy() if name in _TABLES else value for name, value in attributes.items()}


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by path, each once."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def checksums_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    return tensor_checksums({name: tensor for name, tensor in tensors.items() if tensor.device.type != "meta"})


Place = tuple[Any, Any]  # a container, and the key or the name of an attribute in it


def loose_tensors(root: nn.Module, known: set[int]) -> dict[str, tuple[Tensor, Place]]:
    """Tensors and states of generators that PEFT's own modules keep outside parameters and buffers, by path.

    Args:
        known: ids of modules that are the base model's own.
    """
    found: dict[str, tuple[Tensor, Place]] = {}
    seen: set[int] = set()
    for path, module in root.named_modules():
        if id(module) in known or not type(module).__module__.startswith("peft."):
            continue
        for name, value in vars(module).items():
            if name not in _TABLES:
                _collect(value, f"{path}/{name}", (module, name), found, seen)
    return found


def _collect(value: Any, path: str, place: Place, found: dict[str, tuple[Tensor, Place]], seen: set[int]) -> None:
    if isinstance(value, Tensor):
        found[path] = (value, place)
        return
    if isinstance(value, torch.Generator):
        found[path] = (value.get_state(), place)
        return
    if isinstance(value, nn.Module) or id(value) in seen:
        return
    inner: Mapping[Any, Any] = {}
    if isinstance(value, dict):
        inner = value
    elif isinstance(value, list):
        inner = dict(enumerate(value))
    elif type(value).__module__.startswith("peft.") and hasattr(value, "__dict__") and not isinstance(value, type):
        inner = vars(value)
    if not inner:
        return
    seen.add(id(value))
    for key, each in inner.items():
        _collect(each, f"{path}/{key}", (value, key), found, seen)


def put(place: Place, value: Tensor) -> None:
    """Set a loose tensor, or the state of a generator, to what was saved."""
    container, key = place
    held = container[key] if isinstance(container, dict | list) else getattr(container, key)
    if isinstance(held, torch.Generator):
        held.set_state(value.cpu())
    elif held.shape == value.shape:
        held.data.copy_(value)
    elif isinstance(container, dict | list):
        container[key] = value.to(held.device)
    else:
        setattr(container, key, value.to(held.device))
