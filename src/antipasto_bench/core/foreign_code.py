"""What a model's files would run: Python of its own, and pickles. Read as text and JSON; nothing of it is run here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import read_regular
from .fingerprint import sha256_of
from .json_types import Json
from .packaged_models import PACKAGED
from .paths import EMBEDDED, locate

# Those that transformers reads before anything else of a model and its tokenizer.
SETTINGS = ("config.json", "tokenizer_config.json", "processor_config.json", "adapter_config.json")
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".th", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
_OWN_CLASS = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*")  # MODULE.CLASS, of a file beside the config
_KERNEL_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal",
                "experts_implementation", "_experts_implementation")  # fmt: skip


def read_settings(path: Path | None) -> Json:
    """A model's JSON of settings; empty where it is not there or holds anything else, which loading it will say."""
    try:
        values = json.loads(read_regular(path).decode()) if path is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def own_code(settings: Json) -> list[str]:
    """The classes of the model's own that some settings name: MODULE.CLASS, or REPOSITORY--MODULE.CLASS.

    Those of a part of a config count, such as `text_config`: transformers builds it by an auto class, too.
    """
    return [text for _, text in _texts_under(settings, ("auto_map",))]


def may_bring_code(model: str) -> bool:
    """Whether a model can name Python files of its own: of a folder here, whether it does; true for one of the hub."""
    if model in PACKAGED or model in EMBEDDED:
        return False
    folder = locate(model)
    return folder is None or any(own_code(read_settings(folder / name)) for name in SETTINGS)


def refuse_foreign_code(settings: Json, named: str) -> None:
    """Refuse what a model's settings fetch and run from elsewhere, which no word allows.

    Args:
        named: the model, as messages name it.

    Raises:
        UserError: it names classes of another repository, or of files outside its folder, or kernels of the hub.
    """
    for reference in own_code(settings):
        if not _OWN_CLASS.fullmatch(reference):
            raise UserError(
                f"{named}: its auto_map names {reference[:100]!r}, which is not a file of its own; take a copy that "
                "holds all of its Python files"
            )
    for key, text in _texts_under(settings, _KERNEL_KEYS):
        if "/" in text:
            raise UserError(f"{named}: its {key} names code of the hub; take {key} out of a copy of its config.json")


def refuse_pickles(folder: Path, named: str) -> None:
    """Refuse a folder whose weights are pickles, which can run code when they are read.

    Raises:
        UserError: it holds no safetensors but files of PICKLES, or an index of safetensors that names other files.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    pickles = [name for name in names if name.endswith(PICKLES) and not name.startswith("training_args")]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        raise UserError(
            f"{named}: its weights are pickles ({pickles[0]}), which can run code when they are read; take a copy in "
            "safetensors"
        )
    for shard in sorted({name for _, name in _texts_under(read_settings(folder / INDEX), ("weight_map",))}):
        if not shard.endswith(".safetensors") or Path(shard).name != shard:
            raise UserError(f"{named}: {INDEX} names {shard[:100]!r}, which is no .safetensors file of its folder")


def code_digest(folder: Path) -> str | None:
    """sha256 over the names and contents of all Python files below a model's folder; None where it has none."""
    total, files = hashlib.sha256(), sorted(folder.rglob("*.py"))
    for file in files:
        total.update(f"{file.relative_to(folder).as_posix()} {sha256_of(file)}\n".encode())
    return f"sha256:{total.hexdigest()}" if files else None


def _texts_under(settings: Json, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    """All texts that are values of these keys or lie in such a value, with the key; keys of all parts count."""
    parts: list[tuple[str | None, Any]] = [(None, settings)]
    while parts:  # no recursion: JSON can be nested as deep as Python calls
        key, value = parts.pop()
        if isinstance(value, str) and key is not None:
            yield key, value
        elif isinstance(value, dict):
            parts += [(key or (name if name in keys else None), inner) for name, inner in reversed(value.items())]
        elif isinstance(value, list):
            parts += [(key, inner) for inner in reversed(value)]
