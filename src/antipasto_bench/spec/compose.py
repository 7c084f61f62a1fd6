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

from pydantic import ConfigDict, TypeAdapter, ValidationError

import antipasto
from antipasto.config import ALIASES, AdapterConfig, AdapterError, did_you_mean

from ..core.errors import UserError
from ..core.foreign_code import may_bring_code
from .allowed import allowed, key_of, shown
from .config import ADAPTER_WORDS, BASE, SCORING_VERSION, RunConfig, one_line
from .keys import WITHOUT_EFFECT, lacks
from .keys import known_keys as known_keys
from .keys import variant_names as variant_names
from .presets import flatten, for_variant, load_preset, variant_defaults
from .presets import preset_names as preset_names
from .references import check_texts


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
    for layer in (for_variant(variant_defaults(), variant), chosen, for_variant(by_variant, variant)):
        flat |= flatten(layer)
    if "data.train" in given and "eval.valid" not in given:
        flat["eval.valid"] = "holdout"  # the preset's validation questions belong to its own training data
    flat |= {ADAPTER_WORDS.get(key, key): value for key, value in given.items()}

    run: dict[str, Any] = {"preset": _preset_name(preset), "variant": variant, "adapter": {}}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if dot:
            run.setdefault(section, {})[name] = value
        elif key in RunConfig.model_fields:
            run[key] = value
    if variant != BASE:
        config = _adapter_config(variant, flat, given, preset)
        if config.variant != variant:  # antipasto_gain basis=corda is antipasto_corda, with the settings of that
            return compose(config.variant, {**given, "basis": getattr(config, "basis", None)}, preset)
        run["adapter"] = {key: value for key, value in config.to_dict().items() if key != "variant"}
    run.setdefault("lr", 1.0)
    try:
        config_of_run = RunConfig.model_validate(run, strict=True)
    except ValidationError as error:
        raise UserError(f"{_place(key_of(error, RunConfig), given, flat, preset)}{one_line(error)}") from error
    check_texts(config_of_run)
    unused = {key: value for key, value in WITHOUT_EFFECT.items() if lacks(variant, key)}  # such an axis collapses
    if unused or variant == BASE:
        config_of_run = config_of_run.model_copy(update=unused | ({"seed": 0} if variant == BASE else {}))
    if config_of_run.trust_remote_code and not may_bring_code(config_of_run.model):
        config_of_run = config_of_run.model_copy(update={"trust_remote_code": False})  # one run, one id
    if config_of_run.eval.version != SCORING_VERSION:
        old = config_of_run.eval.version
        raise UserError(f"eval.version={old}: its rules are for reading old rows; write eval.version={SCORING_VERSION}")
    return config_of_run


def _preset_name(preset: str) -> str:
    """A preset's name, without the folder and the ending of its file: `qwen3-0.6b` has none."""
    return Path(preset).stem if preset.endswith((".yaml", ".yml")) else preset


def _place(key: str, given: Mapping[str, Any], flat: Mapping[str, Any], preset: str) -> str:
    """Names the preset in front of a message about a setting that no user typed."""
    typed = key in {ADAPTER_WORDS.get(name, name) for name in given} or key not in flat
    return "" if typed else f"preset {preset}, or benchmark/variants.yaml: "


def _adapter_config(variant: str, flat: Mapping[str, Any], given: Mapping[str, Any], preset: str) -> AdapterConfig:
    """The adapter's own fields, typed and checked by its config class, in their canonical form."""
    cls = antipasto.CONFIGS[variant]
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
            typed = TypeAdapter(hints[name], config=ConfigDict(allow_inf_nan=False, strict=True))
            values[name] = typed.validate_python(value)
        except ValidationError as error:
            key, where = words.get(name, name), _place(name, given, flat, preset)
            raise UserError(f"{where}{variant}: {key}={shown(value)}: expected {allowed(hints[name])}") from error
    try:
        config = cls(**values)
    except AdapterError as error:
        raise UserError(f"{variant}: {error}") from error
    # One computation, one spelling: an unused setting collapses, as an axis does that the variant lacks.
    return config.canonical()


DEFAULT_PRESET = "nano"
