"""The file of an adapter of PEFT: every tensor that the base lacks, and the settings, in one safetensors file.

PEFT's own files leave out what its code can draw or compute again. Here the same bits come back, whatever computes
them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from antipasto.config import AdapterError

from ...core.errors import first_line
from ...core.files import write_bytes
from ...core.json_types import Json
from .peft_state import loose_tensors, put

FORMAT = "antipasto-bench peft 1"
_ABOUT = "adapter"  # the entry of the metadata
_LOOSE = "loose:"  # before the path of a tensor that is no parameter and no buffer


@dataclass(frozen=True)
class Saved:
    """What a file holds."""

    variant: str
    settings: Json
    state: Json
    tensors: dict[str, Tensor]


def write(
    file: Path, variant: str, settings: Json, model: nn.Module, own: Mapping[str, Tensor], base: set[int], config: Any
) -> Path:
    """Write an adapter in one step.

    Args:
        model: PEFT's.
        own: the tensors that are not the base's, by path.
        base: ids of the base's modules.
        config: of PEFT, of which some hold what training decided.

    Raises:
        OSError: it could not be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in own.items()}
    for path, (tensor, _) in loose_tensors(model, base).items():
        tensors[_LOOSE + path] = tensor.detach().cpu().contiguous().clone()
    frozen = sorted(name for name, tensor in own.items() if not tensor.requires_grad)
    state = {"frozen": frozen, "rank_pattern": _rank_pattern(config)}
    about = {"format": FORMAT, "variant": variant, "settings": settings, "state": state}
    write_bytes(file, save(tensors, {_ABOUT: json.dumps(about)}))  # one entry: several are written in any order
    return file


def read(file: Path) -> Saved:
    """What a file holds.

    Raises:
        AdapterError: it cannot be read, or is no such file.
    """
    try:
        with safe_open(str(file), "pt") as opened:
            about = json.loads((opened.metadata() or {}).get(_ABOUT, "{}"))
            if not isinstance(about, dict) or about.get("format") != FORMAT:
                raise AdapterError(f"{file} is no adapter of PEFT as this program writes it")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no mapping
        return Saved(about["variant"], about["settings"], about["state"], tensors)
    except (OSError, SafetensorError, ValueError, KeyError, RecursionError) as error:
        if isinstance(error, AdapterError):
            raise
        raise AdapterError(f"{file} cannot be read: {first_line(error)}") from error


@torch.no_grad()
def put_back(saved: Saved, model: nn.Module, own: Mapping[str, Tensor], base: set[int], config: Any) -> None:
    """Set every tensor of an attached adapter to what was saved.

    Raises:
        AdapterError: the file is of another shape or model.
    """
    loose = {_LOOSE + path: place for path, (_, place) in loose_tensors(model, base).items()}
    missing = own.keys() - saved.tensors.keys()
    if missing:
        raise AdapterError(f"does not fit the model: {sorted(missing)[0]} is not in the file")
    for name, value in saved.tensors.items():
        if name in own:
            if own[name].shape != value.shape or own[name].dtype != value.dtype:
                was, is_now = tuple(value.shape), tuple(own[name].shape)
                raise AdapterError(f"does not fit the model: {name} is {was} in the file, {is_now} on the model")
            own[name].data.copy_(value)
        elif name in loose:
            put(loose[name], value)
        elif name.startswith(_LOOSE):
            _add(model, name.removeprefix(_LOOSE), value)
        else:
            raise AdapterError(f"does not fit the model: it has no {name}")
    frozen = set(saved.state["frozen"])
    for name, tensor in own.items():
        if tensor.is_floating_point():
            tensor.requires_grad_(name not in frozen)
    if saved.state["rank_pattern"] is not None:
        config.rank_pattern = saved.state["rank_pattern"]


def _add(model: nn.Module, path: str, value: Tensor) -> None:
    """Set a tensor that only appears while an adapter is trained, such as AdaLoRA's estimates of importance.

    Raises:
        AdapterError: there is nothing that could hold it.
    """
    module, name, *keys = path.split("/")
    try:
        held: Any = getattr(model.get_submodule(module), name)
        for key in keys[:-1]:
            held = held[key] if isinstance(held, dict) else getattr(held, key)
    except (AttributeError, KeyError) as error:
        raise AdapterError(f"does not fit the model: it has no {path}") from error
    if not isinstance(held, dict):
        raise AdapterError(f"does not fit the model: it has no {path}")
    held[keys[-1]] = value.to(next(model.parameters()).device)


def _rank_pattern(config: Any) -> Any:
    """Which ranks AdaLoRA kept, where training has decided."""
    pattern = getattr(config, "rank_pattern", None)
    decided = isinstance(pattern, dict) and any(isinstance(kept, list) for kept in pattern.values())
    return pattern if decided else None
