"""From what a user types and a preset to resolved, validated runs.

What a user types wins over the preset, and the preset over the variant's own defaults (benchmark/variants.yaml).
"""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from antipasto import ALIASES, CONFIGS, REGISTRY, AdapterConfig, AdapterError, FrozenBasisConfig
from antipasto.config import did_you_mean

from ..core.errors import UserError
from ..core.paths import benchmark_dir
from .config import ADAPTER_WORDS, BASE, SCORING_VERSION, RunConfig, one_line


def expand(variants: list[str], axes: Mapping[str, list[Any]], preset: str | None = None) -> list[RunConfig]:
    """Every run of a product of axes, once each: axes that a variant lacks collapse.

    Raises:
        UserError: an unknown variant, key, value or preset.
    """
    axes = dict(axes)
    presets = axes.pop("preset", None) or [preset or DEFAULT_PRESET]
    runs: dict[str, RunConfig] = {}
    for name, variant in itertools.product(presets, variants):
        for values in itertools.product(*axes.values()):
            run = compose(variant, dict(zip(axes, values, strict=True)), str(name))
            runs.setdefault(run.content, run)  # copies of a model are one model
    return list(runs.values())


def preset_names() -> list[str]:
    return sorted(path.stem for path in (benchmark_dir() / "presets").glob("*.yaml"))


def load_preset(name: str) -> dict[str, Any]:
    """A preset by name, or by the path of a YAML file.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else benchmark_dir() / "presets" / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"unknown preset {name!r}{did_you_mean(name, preset_names())}")
    return _load_yaml(path)


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping of keys to values")
    return values


def variant_names() -> list[str]:
    return [BASE, *sorted(CONFIGS)]


def compose(variant: str, given: Mapping[str, Any], preset: str) -> RunConfig:
    """One resolved run from a variant, what the user gave, and a preset.

    Raises:
        UserError: an unknown variant, key or value; the message names the nearest known one.
    """
    variant = ALIASES.get(variant, variant)
    if variant not in variant_names():
        raise UserError(f"unknown variant {variant!r}{did_you_mean(variant, variant_names())}")
    for key in given:
        if key not in known_keys():
            raise UserError(f"unknown key {key!r}{did_you_mean(key, known_keys())}")
        if key in ADAPTER_WORDS and ADAPTER_WORDS[key] in given:
            raise UserError(f"{key} and {ADAPTER_WORDS[key]} are two words for one setting; give one of them")

    chosen = load_preset(preset)
    by_variant = chosen.pop("variants", {})
    flat: dict[str, Any] = {}
    for layer in (_for_variant(_load_yaml(benchmark_dir() / "variants.yaml"), variant), chosen):
        flat |= _flatten(layer)
    flat |= _flatten(_for_variant(by_variant, variant))
    for key in flat:
        if key not in known_keys():
            raise UserError(f"preset {preset!r}: unknown key {key!r}{did_you_mean(key, known_keys())}")
    if "data.train" in given and "eval.valid" not in given:
        flat["eval.valid"] = "holdout"  # the preset's validation questions belong to its own training data
    flat |= {ADAPTER_WORDS.get(key, key): value for key, value in given.items()}

    run: dict[str, Any] = {"preset": Path(preset).stem, "variant": variant, "adapter": {}}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if dot:
            run.setdefault(section, {})[name] = value
        elif key in RunConfig.model_fields:
            run[key] = value
    if variant != BASE:
        config = _adapter_config(variant, flat)
        if config.variant != variant:  # antipasto_gain basis=corda is antipasto_corda, with the settings of that
            return compose(config.variant, {**given, "basis": getattr(config, "basis", None)}, preset)
        run["adapter"] = {key: value for key, value in config.to_dict().items() if key != "variant"}
    else:
        run["seed"] = 0
    if variant == BASE or not REGISTRY[variant].trains:
        run["lr"] = 1.0  # nothing is trained: an axis that it lacks collapses
    try:
        config_of_run = RunConfig.model_validate(run)
    except ValidationError as error:
        raise UserError(one_line(error)) from error
    if config_of_run.eval.version != SCORING_VERSION:
        old = config_of_run.eval.version
        raise UserError(f"eval.version={old}: its rules are for reading old rows; write eval.version={SCORING_VERSION}")
    return config_of_run


def known_keys() -> dict[str, str]:
    """Every key that can be set, with what it is for."""
    keys = {"preset": "the settings to start from"}
    for name, field in RunConfig.model_fields.items():
        if name in ("data", "eval"):
            section = typing.cast("type[BaseModel]", field.annotation)
            keys |= {f"{name}.{key}": f.description or "" for key, f in section.model_fields.items()}
        elif name not in ("preset", "variant", "adapter"):
            keys[name] = field.description or ""
    for cls in CONFIGS.values():
        keys |= {f.name: "" for f in dataclasses.fields(cls) if f.name not in keys}
    return keys | dict.fromkeys(ADAPTER_WORDS, "")


def _for_variant(table: Mapping[str, Any], variant: str) -> dict[str, Any]:
    family = variant != BASE and issubclass(CONFIGS[variant], FrozenBasisConfig)
    names = ["default", *(["frozen_basis"] if family else []), variant]
    merged: dict[str, Any] = {}
    for name in names:
        merged |= table.get(name) or {}
    return merged


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{name}": v for name, v in value.items()}
        else:
            flat[ADAPTER_WORDS.get(key, key)] = value
    return flat


def _adapter_config(variant: str, flat: Mapping[str, Any]) -> AdapterConfig:
    """The adapter's own fields, typed and checked by its config class, in their canonical form."""
    cls = CONFIGS[variant]
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    words = {name: word for word, name in ADAPTER_WORDS.items()}
    for name, value in flat.items():
        if name not in {field.name for field in dataclasses.fields(cls)}:
            continue  # the axis of another variant
        if name == "r" and value == "full" and cls.full_rank_allowed:
            value = None
        if name in ("target_names", "exclude_names", "layers") and not isinstance(value, list | tuple | None):
            value = [value]
        try:
            values[name] = TypeAdapter(hints[name], config=ConfigDict(allow_inf_nan=False)).validate_python(value)
        except ValidationError as error:
            word, problem = words.get(name, name), error.errors()[0]
            if problem["type"] == "literal_error":
                allowed = ", ".join(map(str, typing.get_args(hints[name])))
                raise UserError(f"{variant}: {word} must be one of {allowed}; got {value!r}") from error
            raise UserError(f"{word}={value}: {problem['msg'].lower()}") from error
    try:
        config = cls(**values)
    except AdapterError as error:
        raise UserError(f"{variant}: {error}") from error
    # One computation, one spelling: an unused setting collapses, as an axis does that the variant lacks.
    return config.canonical()


DEFAULT_PRESET = "nano"
