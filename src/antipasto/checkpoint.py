"""Adapters on disk: one safetensors file, the config in its metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .adapter import attach
from .attachment import attachment
from .config import AdapterConfig, AdapterError

FORMAT = "antipasto-1"


def save(model: nn.Module, path: str | os.PathLike[str], *, include_basis: bool = False) -> Path:
    """Write the adapter as it is now, its coeff included, to one safetensors file, atomically.

    Trained tensors are written; frozen ones only where they came from data (or `include_basis` asks), since the
    base weight gives the others back. Beside each rebuilt basis stand 2 r numbers that fix its signs.

    Raises:
        AdapterError: no adapter is attached.
        OSError: it could not be written; no file is left behind.
    """
    state = attachment(model)
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    for name, layer in state.targets.items():
        kept = state.variant.saved(layer, state.cfg)
        if include_basis:
            kept = {k: v for k, v in layer.state_dict().items() if k.startswith("lora_")}
        tensors |= {f"{name}.{key}": tensor.detach().cpu().contiguous() for key, tensor in kept.items()}
    metadata = {"format": FORMAT, "config": json.dumps(state.cfg.to_dict())}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(to_bytes(tensors, metadata))  # Python's own write reports a full disk as an OSError
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_config(path: str | os.PathLike[str]) -> AdapterConfig:
    """The config of a saved adapter, without its tensors.

    Raises:
        AdapterError: the file is missing, damaged or not an adapter of this library.
    """
    return _read(path)[0]


def load(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Attach a saved adapter to the base model that it was trained on. No calibration data are needed.

    Raises:
        AdapterError: the file is not an adapter, or this model is not the one it was made for.
    """
    cfg, tensors = _read(path)
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
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise AdapterError(f"{path}: not an adapter of this library (format {metadata.get('format')!r})")
            return AdapterConfig.from_dict(json.loads(metadata["config"])), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise AdapterError(f"{path}: cannot be read as an adapter: {error}") from error
