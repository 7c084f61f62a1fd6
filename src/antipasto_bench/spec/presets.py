"""Presets and the defaults of variants: read from YAML, and refused where anything in them would be without effect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from antipasto.config import ALIASES, did_you_mean

from ..core.errors import UserError
from ..core.json_types import Json
from ..core.paths import benchmark_dir
from ..core.yaml_files import read_mapping
from .config import ADAPTER_WORDS, DataConfig, EvalConfig, RunConfig
from .grammar import TEXT
from .keys import known_keys, lacks, variant_names
from .methods.external import is_external
from .methods.peft import PRESET_TARGETS
from .methods.peft_types import is_peft
from .methods.registry import is_known, method_of

SECTIONS = ("data", "eval")
GENERAL_BLOCKS = ("default", "frozen_basis")  # of several variants, most general first
TYPED_ALONE = ("preset", "trust_remote_code")  # said by a user for one command, and by no file


def preset_names() -> list[str]:
    return sorted(path.stem for path in (benchmark_dir() / "presets").glob("*.yaml"))


def load_preset(name: str) -> Json:
    """A preset by name, or by the path of a YAML file.

    Returns:
        its settings; `data`, `eval` and `variants` are mappings where they are there, and each block of `variants` is
        flat, see `flatten`.

    Raises:
        UserError: there is none, or it cannot be read, or a key, a section or a variant of it is unknown.
    """
    path = _preset_path(name)
    values = read_mapping(path, _is_text)
    blocks = values.pop("variants", None)
    for section in SECTIONS:
        if section in values:
            values[section] = _mapping(values[section], path, section)
    _flat(values, path, "")
    return values | ({} if blocks is None else {"variants": _blocks(blocks, path, "variants.")})


def _preset_path(name: str) -> Path:
    path = Path(name) if name.endswith((".yaml", ".yml")) else benchmark_dir() / "presets" / f"{name}.yaml"
    if not path.exists():
        raise UserError(f"unknown preset {name!r}{did_you_mean(name, preset_names())}")
    return path


def variant_defaults() -> dict[str, Json]:
    """The flat blocks of benchmark/variants.yaml.

    Raises:
        UserError: as `load_preset`.
    """
    path = _defaults_path()
    return _blocks(read_mapping(path, _is_text_of_defaults), path, "")


def _defaults_path() -> Path:
    return benchmark_dir() / "variants.yaml"


def given_by_files(variant: str, preset: str, *, frozen_basis: bool) -> Json:
    """What a preset and benchmark/variants.yaml give a variant, flat, see `flatten`.

    The files are read without the checks of `load_preset`, which ask the class of every variant.

    Args:
        frozen_basis: whether the variant is of that family.

    Raises:
        UserError: a file is not there, or cannot be read.
    """
    chosen = read_mapping(_preset_path(preset), _is_text)
    tables = read_mapping(_defaults_path(), _is_text_of_defaults), chosen.pop("variants", None)
    first, last = (for_variant(_unchecked_blocks(table), variant, frozen_basis) for table in tables)
    return first | flatten(chosen) | last


def adapter_default(key: str, given: Mapping[str, Any]) -> Any:
    """What files give a variant for one of its own settings, named as `flatten` does.

    Args:
        given: of `given_by_files`.

    Returns:
        None where they give none, or one for another variant by its `basis`.
    """
    return None if "basis" in given else given.get(key)


def run_default(key: str, given: Mapping[str, Any]) -> tuple[Any] | None:
    """What a setting of the run itself is by default, with the arguments of `adapter_default`.

    Where no file names it, it is the default of its field.

    Returns:
        the value alone in a tuple, as it can be None; None where the key is no setting of a run.
    """
    sections: dict[str, type[BaseModel]] = {"": RunConfig, "data": DataConfig, "eval": EvalConfig}
    section, _, name = key.rpartition(".")
    if section not in sections or name not in sections[section].model_fields:
        return None
    return (given.get(key, sections[section].model_fields[name].default),)


def _unchecked_blocks(table: Any) -> dict[str, Json]:
    blocks = table.items() if isinstance(table, Mapping) else ()
    return {str(ALIASES.get(name, name)): flatten(block) for name, block in blocks if isinstance(block, Mapping)}


def for_variant(blocks: Mapping[str, Mapping[str, Any]], variant: str, frozen_basis: bool | None = None) -> Json:
    """What the blocks say of a variant, the more special one last.

    Args:
        frozen_basis: whether it is of that family; its class is asked where None.
    """
    if is_peft(variant):
        return _for_peft(blocks, variant)
    family = frozen_basis
    if family is None:
        family = method_of(variant).frozen_basis
    merged: Json = {}
    for name in ("default", *(["frozen_basis"] if family else []), variant):
        merged |= blocks.get(name, {})
    return merged


def _for_peft(blocks: Mapping[str, Mapping[str, Any]], variant: str) -> Json:
    """As `for_variant` of a tuner type of PEFT: of other variants' settings it has the rate and the layers alone."""
    shared = {"lr": "lr", "target_names": PRESET_TARGETS}
    general = {shared[key]: value for key, value in blocks.get("default", {}).items() if key in shared}
    return general | dict(blocks.get(variant, {}))


def flatten(values: Mapping[str, Any]) -> Json:
    """Settings by their whole key, such as `data.train`, and by the adapter's own name for `rank` and its like."""
    flat: Json = {}
    for key, value in values.items():
        inner = {f"{key}.{name}": v for name, v in value.items()} if isinstance(value, Mapping) else {key: value}
        flat |= {ADAPTER_WORDS.get(name, name): v for name, v in inner.items()}
    return flat


def _is_text_of_defaults(keys: tuple[str, ...]) -> bool:
    return ".".join(keys[1:]) in TEXT


def _is_text(keys: tuple[str, ...]) -> bool:
    return ".".join(keys[2:] if keys[:1] == ("variants",) else keys) in TEXT


def _mapping(value: Any, path: Path, name: str) -> Json:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: {name}: expected a mapping of keys to values")
    return value


def _blocks(table: Any, path: Path, prefix: str) -> dict[str, Json]:
    blocks: dict[str, Json] = {}
    names = [*GENERAL_BLOCKS, *variant_names()]
    for given, block in _mapping(table, path, "variants").items():
        name = ALIASES.get(given, given)
        where = f"{prefix}{given}"
        if name not in names and is_external(name):
            blocks[name] = flatten(_mapping(block, path, where))  # its keys are checked where its package is loaded
            continue
        of_peft = is_peft(str(name)) and is_known(name)
        if name not in names and not of_peft:
            raise UserError(f"{path}: {prefix}{given}: unknown variant {given!r}{did_you_mean(given, names)}")
        if name in blocks:
            raise UserError(f"{path}: {where}: {name} is given twice")
        if of_peft:  # its keys are checked where it is composed: PEFT is imported for them
            blocks[name] = flatten(_mapping(block, path, where))
            continue
        blocks[name] = _flat(_mapping(block, path, where), path, f"{where}: ")
        for key in blocks[name]:
            if name not in GENERAL_BLOCKS and lacks(name, key) and key != "lr":
                raise UserError(f"{path}: {where}: {name} has no setting {key!r}")
    return blocks


def _flat(values: Mapping[str, Any], path: Path, where: str) -> Json:
    """The flat settings of a mapping, each of a known key, none twice."""
    flat: Json = {}
    known = known_keys()
    for name, value in values.items():
        if isinstance(value, dict) and name not in SECTIONS and name in known:
            raise UserError(f"{path}: {where}{name}: expected one value, not a mapping")
        for key, inner in flatten({name: value}).items():
            if key in TYPED_ALONE:
                raise UserError(f"{path}: {where}{key} is no setting of a file; type {key}=VALUE in the command")
            if key not in known:
                raise UserError(f"{path}: {where}unknown key {key!r}{did_you_mean(key, list(known))}")
            if key in flat:
                raise UserError(f"{path}: {where}{key} is given twice")
            flat[key] = inner
    return flat
