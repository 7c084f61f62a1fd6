"""The files of a model folder, checked before a library reads them and fills in what is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..core.errors import UserError, first_line
from ..core.files import read_regular, require_regular

CONFIG, WEIGHTS, INDEX, ADAPTER = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "adapter_config.json",
)  # fmt: skip
LARGEST = {  # of what a config may say; beyond it, building the model would not end or not fit
    "num_hidden_layers": 10_000,
    "hidden_size": 1_000_000,
    "intermediate_size": 10_000_000,
    "vocab_size": 100_000_000,
    "num_attention_heads": 100_000,
    "num_key_value_heads": 100_000,
    "head_dim": 1_000_000,
}
_TOKENIZER_FILE = re.compile(r"^tokenizer\.|vocab|merges|spiece|sentencepiece|tiktoken|tekken|\.model$", re.IGNORECASE)
_WITHOUT_FILE = ("ByT5", "Canine", "Perceiver")  # tokenizers of bytes and code points, by the name of their class


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that is no whole causal language model as `save_pretrained` writes one.

    Pickled weights are not looked at.

    Raises:
        UserError: what it is instead, or which of its files is at fault.
    """
    config = check_config(folder)
    _check_tokenizer_files(folder)
    tensors = weight_shapes(folder)
    for part in (config, config.get("text_config")):
        layers = part.get("num_hidden_layers") if isinstance(part, dict) else None
        if tensors and isinstance(layers, int) and layers > len(tensors):
            raise UserError(f"{CONFIG}: num_hidden_layers is {layers}, and its weights are {len(tensors)} tensors")


def check_config(folder: Path) -> dict[str, Any]:
    """The values of a model folder's config.json, whose sizes are numbers that a model can have.

    Raises:
        UserError: it is no model folder, or its config is not one.
    """
    if not folder.is_dir():
        raise UserError("it is a file; expected the folder of a model, or a .gguf file")
    names = {path.name for path in folder.iterdir()}
    for path in sorted(folder.iterdir()):
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or a device can block
            raise UserError(f"{path.name} is not a regular file; save it again")
    if not names:
        raise UserError(f"it is an empty folder; expected {CONFIG}, {WEIGHTS} and tokenizer.json in it")
    if ADAPTER in names:
        base = _read_json(folder / ADAPTER).get("base_model_name_or_path")
        raise UserError(
            f"it is a PEFT adapter of {base or 'an unnamed base'}, not a whole model ({ADAPTER}); merge it into "
            "its base (peft: merge_and_unload) and save that, or name the base itself"
        )
    if CONFIG not in names:
        if {"adapter.safetensors", "config.yaml"} <= names:
            raise UserError(
                "it is the folder of a run; write it as a model first: "
                f"antipasto-bench export {folder.name} --merged DIR"
            )
        raise UserError(f"it has no {CONFIG}, so it is no model folder")
    config = _read_json(folder / CONFIG)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise UserError(f"{CONFIG}: model_type is {_shown(config, 'model_type')}; expected a name like 'qwen3'")
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            _check_sizes(part)
    for theta in _values_of(config, "rope_theta"):
        if isinstance(theta, bool) or not isinstance(theta, int | float | None) or (theta is not None and theta <= 0):
            raise UserError(f"{CONFIG}: rope_theta is {theta!r}; expected a number above 0")
    return config


def weight_shapes(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype, as safetensors calls it, and the shape of each tensor in a model folder, from the files' headers.

    Empty for a folder whose weights are pickled.

    Raises:
        UserError: it has no weights, or a file of them is missing or damaged.
    """
    if (folder / WEIGHTS).exists():
        files = [folder / WEIGHTS]
    elif (folder / INDEX).exists():
        files = _shards(folder / INDEX)
    elif any(folder.glob("pytorch_model*.bin")):
        return {}
    else:
        raise UserError(f"it has no weights; expected {WEIGHTS}, or {INDEX} and the files that it names")
    shapes = {}
    for file in files:
        try:
            require_regular(file)
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  (it is no mapping)
                    tensor = tensors.get_slice(name)
                    shapes[name] = (str(tensor.get_dtype()), tuple(tensor.get_shape()))
        except (SafetensorError, OSError) as error:
            size = f"{file.stat().st_size:,} bytes" if file.is_file() else "no file"
            reason = str(error).rpartition(": ")[2]
            raise UserError(
                f"{file.name} is damaged or cut short ({size}; {reason}); fetch or save it again"
            ) from error
    return shapes


def setting_with_value(folder: Path, value: object) -> str | None:
    """The name of a config's setting that has a value, such as hidden_act of 'sillu'; None where none or several have.

    A library that looks a setting up in a table names only the value that is not there.
    """
    try:
        config = _read_json(folder / CONFIG)
    except UserError:
        return None
    names = [name for name, each in _settings(config) if each == value and isinstance(each, str)]
    return names[0] if len(names) == 1 else None


def _check_tokenizer_files(folder: Path) -> None:
    names = [path.name for path in folder.iterdir() if path.name != "tokenizer_config.json"]
    settings_file, tokenizer = folder / "tokenizer_config.json", folder / "tokenizer.json"
    settings = _read_json(settings_file) if settings_file.exists() else {}
    if not any(_TOKENIZER_FILE.search(name) for name in names):
        if str(settings.get("tokenizer_class")).startswith(_WITHOUT_FILE):
            return
        raise UserError("it has no tokenizer; copy tokenizer.json and tokenizer_config.json of its base into it")
    if tokenizer.exists():
        values = _read_json(tokenizer)
        if not isinstance(values.get("model"), dict):
            raise UserError("tokenizer.json has no 'model'; expected the file that the tokenizers library writes")


def _check_sizes(config: Mapping[str, Any]) -> None:
    for name, largest in LARGEST.items():
        value = config.get(name)
        if value is None or isinstance(value, list | dict):  # of each layer its own, or left to the library
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
            raise UserError(f"{CONFIG}: {name} is {value!r}; expected a whole number from 1 to {largest:,}")
    heads, groups = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(groups, int) and heads % groups:
        raise UserError(f"{CONFIG}: num_attention_heads={heads} is no multiple of num_key_value_heads={groups}")


def _shards(index: Path) -> list[Path]:
    values = _read_json(index)
    weight_map = values.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not isinstance(values.get("metadata"), dict):
        raise UserError(f"{INDEX}: expected the mappings 'metadata' and 'weight_map', of each weight to its file")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name:
            raise UserError(f"{INDEX}: names {name!r}; expected files of the same folder")
        if not (index.parent / name).is_file():
            raise UserError(f"it lacks {name}, one of the {len(names)} files that {INDEX} names")
    return [index.parent / name for name in names]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_regular(file).decode())
    except OSError as error:
        raise UserError(f"{file.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        what = "is empty" if file.stat().st_size == 0 else f"is not JSON ({first_line(error)})"
        raise UserError(f"{file.name} {what}; fetch or save it again") from error
    if not isinstance(values, dict):
        raise UserError(f"{file.name} holds {json.dumps(values)[:40]}; expected a JSON object")
    return values


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "not there"


def _values_of(config: Mapping[str, Any], name: str) -> Iterator[Any]:
    return (value for key, value in _settings(config) if key == name)


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every setting, of the parts of a config too."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _settings(value)
        else:
            yield name, value
