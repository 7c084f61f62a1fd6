"""Trained tensors of a variant that is none of the library's, in one safetensors file with the variant's settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from antipasto.config import AdapterError
from antipasto.decompositions import non_finite
from antipasto.files import atomically, require_regular
from antipasto.tensor_bytes import safetensors_bytes

from ...core.json_types import Json
from ...spec.config import RunConfig

FORMAT = "antipasto-bench-1"


def save_tensors(file: Path, run: RunConfig, tensors: Mapping[str, Tensor]) -> Path:
    """Write tensors, atomically, with what they were trained by.

    Raises:
        OSError: it could not be written.
    """
    metadata = {"format": FORMAT, "variant": run.variant, "settings": json.dumps(run.adapter, sort_keys=True)}
    with atomically(file) as partial:
        partial.write_bytes(safetensors_bytes(tensors, metadata))
    return file


def read_tensors(file: Path, run: RunConfig) -> dict[str, Tensor]:
    """The tensors of a file that `save_tensors` wrote for the same variant and settings.

    Raises:
        AdapterError: it is no such file, or a tensor holds NaN or inf.
    """
    variant, settings, tensors = _read(file)
    if (other := _difference(variant, settings, run)) is not None:
        raise AdapterError(f"{file}: it is of {other}")
    if broken := non_finite(tensors.items()):
        raise AdapterError(f"{file}: {broken[0]} holds NaN or inf; load a file saved before that, or train again")
    return tensors


def settings_difference(file: Path, run: RunConfig) -> str | None:
    """In what the settings in a file are not those of a run; None where they are.

    Raises:
        AdapterError: it is no file of `save_tensors`.
    """
    variant, settings, _ = _read(file)
    return _difference(variant, settings, run)


def require_fit(file: Path, saved: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> None:
    """Raise AdapterError unless a file has the very tensors that a model has room for."""
    for name in _differing(saved, there):
        have, want = saved.get(name), there.get(name)
        if have is None or want is None:
            raise AdapterError(f"{file}: {name} is {'missing' if have is None else 'no tensor of this model'}")
        if (have.shape, have.dtype) != (want.shape, want.dtype):
            raise AdapterError(
                f"{file}: {name} is {tuple(have.shape)} {have.dtype}, in this model {tuple(want.shape)} {want.dtype}"
            )


def _differing(saved: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> Iterable[str]:
    return [*there, *(name for name in saved if name not in there)]


def _difference(variant: str, settings: Json, run: RunConfig) -> str | None:
    if variant != run.variant:
        return variant
    names = [name for name in {**settings, **run.adapter} if settings.get(name) != run.adapter.get(name)]
    return ", ".join(f"{name}={settings.get(name)}" for name in names) or None


def _read(file: Path) -> tuple[str, Json, dict[str, Tensor]]:
    try:
        require_regular(file)
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise AdapterError(f"{file}: not what this program saves (format {metadata.get('format')!r})")
            settings = json.loads(metadata["settings"])
            return metadata["variant"], settings, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise AdapterError(f"{file}: cannot be read as an adapter: {error}") from error
