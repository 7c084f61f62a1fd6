"""Adapters on disk: one safetensors file, the config in its metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .adapter import attach
from .attachment import attachment
from .config import AdapterConfig, AdapterError
from .decompositions import non_finite
from .files import atomically, require_regular
from .layer import lora_tensors
from .tensor_bytes import safetensors_bytes

FORMAT = "antipasto-1"


def save(model: nn.Module, path: str | os.PathLike[str], *, include_basis: bool = False) -> Path:
    """Write the adapter as it is now, its coeff included, to one safetensors file, atomically.

    Trained tensors are written. Frozen ones are computed again from the base weight by `load`, so they are written only
    where they came from data, or with `include_basis`. For a basis that is computed again, 2 r numbers fix its signs.

    Raises:
        AdapterError: no adapter is attached.
        OSError: it could not be written; no file is left behind.
    """
    state = attachment(model)
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    for name, layer in state.targets.items():
        chosen = lora_tensors(layer) if include_basis else state.variant.tensors_to_save(layer, state.cfg)
        tensors |= {f"{name}.{key}": tensor for key, tensor in chosen.items()}
    metadata = {"format": FORMAT, "config": json.dumps(state.cfg.to_dict())}
    with atomically(path) as partial:
        partial.write_bytes(safetensors_bytes(tensors, metadata))  # a full disk is an OSError here
    return path


def read_config(path: str | os.PathLike[str]) -> AdapterConfig:
    """The config of a saved adapter, without its tensors.

    Raises:
        AdapterError: the file is missing, damaged or not an adapter of this library.
    """
    return _read(path)[0]


def load(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Attach a saved adapter to the base model that it was trained on. No calibration data are needed.

    Trained parameters have the dtype that they were saved in, float32 or bfloat16.

    Raises:
        AdapterError: the file is not an adapter, holds NaN or inf, or does not fit this model.
    """
    cfg, tensors = _read(path)
    broken = non_finite(tensors.items())
    if broken:
        layer, _, key = broken[0].rpartition(".")
        more = f", and {len(broken) - 1} more in the file" if broken[1:] else ""
        raise AdapterError(
            f"{path}: {layer}: its {key} holds NaN or inf{more}; load a file saved before that, or train again"
        )
    saved: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, key = name.rpartition(".")
        saved.setdefault(layer, {})[key] = tensor
    modules = dict(model.named_modules())
    missing = [name for name in saved if name not in modules]
    if missing:
        raise AdapterError(f"{path}: this model has no layer {missing[0]!r}; load onto the model it was trained on")
    try:
        return attach(model, cfg, saved=saved)
    except AdapterError as error:
        raise AdapterError(f"{path}: does not fit this model: {error}") from error


def _read(path: str | os.PathLike[str]) -> tuple[AdapterConfig, dict[str, Tensor]]:
    try:
        require_regular(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise AdapterError(f"{path}: not an adapter of this library (format {metadata.get('format')!r})")
            return AdapterConfig.from_dict(json.loads(metadata["config"])), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise AdapterError(f"{path}: cannot be read as an adapter: {error}") from error
