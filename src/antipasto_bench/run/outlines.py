"""Outlines of models: every module with its class and its shapes, which is all that a price needs.

Building a model from its configuration imports the code of transformers, which takes five seconds without any weight.
benchmark/architectures/outlines holds the outlines of the presets' models, each under the digest of its configuration;
any other model is built. `scripts/outlines.py` writes them anew, and a test compares them with what transformers has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from ..core.paths import benchmark_dir


class OutlinedModule(BaseModel):
    """One module of a model."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str
    kind: str  # the name of its class
    parameters: dict[str, list[int]] = {}  # its own, by name: their shapes; without those shared with an earlier module
    shared: dict[str, str] = {}  # its own that are an earlier module's too: that one's path and name
    linear: bool = False
    embedding: bool = False
    convolution: bool = False


class Outline(BaseModel):
    """All modules of a model, parents first."""

    model_config = ConfigDict(extra="forbid", strict=True)

    head: str | None  # the path of the output embeddings
    modules: list[OutlinedModule]

    @classmethod
    def of(cls, model: nn.Module) -> Outline:
        """The outline of a model, with weights or on the meta device."""
        find_head: Any = getattr(model, "get_output_embeddings", lambda: None)
        head, head_path = find_head(), None
        owners: dict[int, str] = {}
        modules = []
        for path, module in model.named_modules():
            own = dict(module.named_parameters(recurse=False))
            if module is head:
                head_path = path
            modules.append(
                OutlinedModule(
                    path=path,
                    kind=type(module).__name__,
                    parameters={name: list(p.shape) for name, p in own.items() if id(p) not in owners},
                    shared={name: owners[id(p)] for name, p in own.items() if id(p) in owners},
                    linear=isinstance(module, nn.Linear),
                    embedding=isinstance(module, nn.Embedding),
                    convolution=hasattr(module, "kernel_size"),
                )
            )
            owners |= {id(p): f"{path}.{name}" for name, p in own.items()}
        return cls(head=head_path, modules=modules)

    def build(self, dtype: torch.dtype) -> nn.Module:
        """A model of these modules and shapes on the meta device; it computes nothing."""
        built: dict[str, nn.Module] = {}
        for outlined in self.modules:
            shared = {}
            for name, other in outlined.shared.items():
                owner, _, parameter = other.rpartition(".")
                shared[name] = built[owner].get_parameter(parameter)
            module = built[outlined.path] = _module(outlined, shared, dtype)
            if outlined.path:
                parent, _, name = outlined.path.rpartition(".")
                built[parent].add_module(name, module)
        model, head = built[""], None if self.head is None else built[self.head]
        model.get_output_embeddings = lambda: head  # type: ignore[assignment]
        return model


def _module(outlined: OutlinedModule, shared: dict[str, nn.Parameter], dtype: torch.dtype) -> nn.Module:
    parameters = {
        name: nn.Parameter(torch.empty(shape, dtype=dtype, device="meta"))
        for name, shape in outlined.parameters.items()
    } | shared
    if outlined.linear:
        d_out, d_in = parameters["weight"].shape
        module: nn.Module = nn.Linear(d_in, d_out, bias=False, device="meta", dtype=dtype)
    elif outlined.embedding:  # a weight of its own: to draw one, even on this device, imports torch's compiler
        rows, width = parameters["weight"].shape
        module = nn.Embedding(rows, width, _weight=parameters["weight"])
    else:
        module = type(outlined.kind, (nn.Module,), {})()
    if outlined.convolution:
        module.kernel_size = ()  # type: ignore[assignment]  # that it has one is what tells it from a linear layer
    for name, parameter in parameters.items():
        module.register_parameter(name, parameter)
    return module


def config_digest(config: Mapping[str, Any]) -> str:
    """sha256 of a model's configuration, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def outline_file(config: Mapping[str, Any]) -> Path:
    """Where the outline of the model of a configuration lies, if it is one of those that are shipped."""
    return benchmark_dir() / "architectures" / "outlines" / f"{config_digest(config)}.json"


def shipped_outline(config: Mapping[str, Any]) -> Outline | None:
    """The outline of the model of a configuration; None where it is not shipped, or is damaged."""
    try:
        return Outline.model_validate_json(outline_file(config).read_bytes())
    except (OSError, ValidationError):
        return None
