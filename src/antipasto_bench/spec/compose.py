"""From what a user types and a preset to resolved, validated runs.

What a user types wins over the preset, and the preset over the variant's own defaults (benchmark/variants.yaml).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from antipasto.config import AdapterError, did_you_mean

from ..core.errors import UserError
from ..core.foreign_code import may_bring_code
from ..core.json_types import Json
from .allowed import allowed, key_of, shown
from .config import ADAPTER_WORDS, BASE, SCORING_VERSION, RunConfig, one_line
from .keys import WITHOUT_EFFECT, lacks, run_keys
from .keys import known_keys as known_keys
from .keys import variant_names as variant_names
from .methods.external import loaded
from .methods.method import Method
from .methods.peft import PRESET_TARGETS
from .methods.peft_folder import expand_folders, read_folder, say
from .methods.peft_settings import SYNONYMS
from .methods.peft_types import is_peft
from .methods.registry import is_known, method_of
from .presets import SECTIONS, flatten, for_variant, load_preset, variant_defaults
from .presets import preset_names as preset_names
from .references import check_texts


def expand(variants: list[str], axes: Mapping[str, list[Any]], preset: str | None = None) -> list[RunConfig]:
    """Every run of a product of axes, once each: axes that a variant lacks collapse.

    Raises:
        UserError: an unknown variant, key, value or preset.
    """
    axes = dict(axes)
    presets = axes.pop("preset", None) or [preset or DEFAULT_PRESET]
    folders = expand_folders(axes.pop("peft", []))
    runs: dict[str, RunConfig] = {}
    arms: list[str | Path] = [*variants, *folders]
    for name, arm in itertools.product(presets, arms):
        for values in itertools.product(*axes.values()):
            given = dict(zip(axes, values, strict=True))
            if isinstance(arm, str):
                run = compose(arm, given, str(name), variants)
            else:
                run = _of_folder(arm, given, str(name), variants)
            runs.setdefault(run.content, run)  # copies of a model are one model
    return list(runs.values())


def _of_folder(folder: Path, given: Mapping[str, Any], preset: str, beside: Iterable[str]) -> RunConfig:
    """The run of an experiment of PEFT's comparison: what a user types wins over it, and it over the preset."""
    steps = given.get("steps", load_preset(preset).get("steps"))
    arm = read_folder(folder, set(RunConfig.model_fields), steps if isinstance(steps, int) else None)
    say(folder, arm.notes)
    if not is_known(arm.variant):
        raise UserError(f"peft={folder}: has no adapter, so that all of the model is trained: that arm is not here")
    try:
        return compose(arm.variant, given, preset, beside, arm.settings)
    except UserError as error:
        raise UserError(f"peft={folder}: {error}") from error


def compose(
    variant: str,
    given: Mapping[str, Any],
    preset: str,
    beside: Iterable[str] = (),
    own: Mapping[str, Any] | None = None,
) -> RunConfig:
    """One resolved run from a variant, what the user gave, and a preset.

    Args:
        beside: other variants that the user named: a key of theirs is known, and means nothing to this one.
        own: settings that define the arm, in place of those that files have for its variant.

    Raises:
        UserError: an unknown variant, key or value; the message names the nearest known one.
    """
    method = method_of(variant)
    variant, known = method.variant, known_keys((variant, *beside))
    for key in given:
        if key not in known:
            raise UserError(f"unknown key {key!r}{did_you_mean(key, list(known))}")
        if key in ADAPTER_WORDS and ADAPTER_WORDS[key] in given:
            raise UserError(f"{key} and {ADAPTER_WORDS[key]} are two words for one setting; give one of them")

    chosen = load_preset(preset)
    by_variant = chosen.pop("variants", {})
    flat: Json = {}
    tables = ({}, {}) if own is not None else (variant_defaults(), by_variant)
    for layer in (for_variant(tables[0], variant), chosen, for_variant(tables[1], variant)):
        flat |= flatten(layer)
    flat |= own or {}
    if is_peft(variant):
        flat = _without_synonyms(flat, given)
    if loaded(variant) is not None:
        _check_external(method, for_variant(by_variant, variant, frozen_basis=False), known, preset)
    if is_peft(variant) and own is None:
        _check_blocks(variant, flat, known, preset)
    if "data.train" in given and "eval.valid" not in given:
        flat["eval.valid"] = "holdout"  # the preset's validation questions belong to its own training data
    flat |= {ADAPTER_WORDS.get(key, key): value for key, value in given.items()}

    run: Json = {"preset": _preset_name(preset), "variant": variant, "adapter": {}}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if dot and section in SECTIONS:
            run.setdefault(section, {})[name] = value
        elif key in RunConfig.model_fields:
            run[key] = value
    canonical, run["adapter"] = _adapter(method, flat, {**(own or {}), **given}, preset)
    if canonical != variant:  # antipasto_gain basis=corda is antipasto_corda, with the settings of that
        return compose(canonical, {**given, "basis": run["adapter"].get("basis")}, preset, beside)
    run.setdefault("lr", 1.0)
    try:
        config_of_run = RunConfig.model_validate(run, strict=True)
    except ValidationError as error:
        raise UserError(f"{_place(key_of(error, RunConfig), given, flat, preset)}{one_line(error)}") from error
    check_texts(config_of_run)
    if (problem := method.problem(config_of_run.adapter, dict(config_of_run))) is not None:
        raise UserError(f"{variant}: {problem}")
    beside_graphs = [name for name in NOT_CAPTURED if getattr(config_of_run, name)]
    if config_of_run.cuda_graphs and beside_graphs:
        (name, *_) = beside_graphs
        raise UserError(f"{name}=true cuda_graphs=true: {NOT_CAPTURED[name]}; leave one out")
    unused = {key: value for key, value in WITHOUT_EFFECT.items() if lacks(variant, key)}  # such an axis collapses
    if unused:
        config_of_run = config_of_run.model_copy(update=unused | ({"seed": 0} if variant == BASE else {}))
    if config_of_run.trust_remote_code and not may_bring_code(config_of_run.model):
        config_of_run = config_of_run.model_copy(update={"trust_remote_code": False})  # one run, one id
    if config_of_run.eval.version != SCORING_VERSION:
        old = config_of_run.eval.version
        raise UserError(f"eval.version={old}: its rules are for reading old rows; write eval.version={SCORING_VERSION}")
    return config_of_run


def _check_external(method: Method, block: Mapping[str, Any], known: Collection[str], preset: str) -> None:
    """Refuse a setting of another package's variant that is named as one of ours, and an unknown key of its block."""
    for name in set(method.fields()) & set(run_keys()):
        raise UserError(f"{method.variant}: its setting {name!r} is one of every run's; its package must rename it")
    for key in block:
        if key not in known:
            raise UserError(f"preset {preset}: {method.variant}: unknown key {key!r}{did_you_mean(key, known)}")


def _without_synonyms(flat: Mapping[str, Any], given: Mapping[str, Any]) -> Json:
    """Settings without those that a user gives by another word, as `rank` for `target_r` or that for `rank`."""
    typed = {ADAPTER_WORDS.get(key, key) for key in given}
    replaced = {field for word in typed for field in SYNONYMS.get(word, ())}
    replaced |= {word for word, fields in SYNONYMS.items() if typed & set(fields)}
    return {key: value for key, value in flat.items() if key not in replaced}


def _check_blocks(variant: str, flat: Mapping[str, Any], known: Mapping[str, str], preset: str) -> None:
    """Refuse a key of a block that reading the file leaves unchecked, since PEFT has to be imported for it."""
    for key in flat:
        if key not in known and key != PRESET_TARGETS:
            raise UserError(f"preset {preset}, or benchmark/variants.yaml: {variant} has no setting {key!r}")


def _preset_name(preset: str) -> str:
    """A preset's name, without the folder and the ending of its file: `qwen3-0.6b` has none."""
    return Path(preset).stem if preset.endswith((".yaml", ".yml")) else preset


def _place(key: str, given: Mapping[str, Any], flat: Mapping[str, Any], preset: str) -> str:
    """Names the preset in front of a message about a setting that no user typed."""
    typed = key in {ADAPTER_WORDS.get(name, name) for name in given} or key not in flat
    return "" if typed else f"preset {preset}, or benchmark/variants.yaml: "


def _adapter(method: Method, flat: Mapping[str, Any], given: Mapping[str, Any], preset: str) -> tuple[str, Json]:
    """The variant's own settings, typed and checked by itself, in their canonical form, and the variant they are of."""
    hints, words = method.fields(), {name: word for word, name in ADAPTER_WORDS.items()}
    values: Json = {}
    for name, value in method.given(flat).items():
        try:
            typed = TypeAdapter(hints[name], config=ConfigDict(allow_inf_nan=False, strict=True))
            values[name] = typed.validate_python(value)
        except ValidationError as error:
            setting = f"{method.variant}: {words.get(name, name)}={shown(value)}"
            raise UserError(f"{_place(name, given, flat, preset)}{setting}: expected {allowed(hints[name])}") from error
    try:
        return method.canonical(values)
    except AdapterError as error:
        raise UserError(f"{method.variant}: {error}") from error


# Settings of which a step cannot be replayed as a CUDA graph, and why.
NOT_CAPTURED = {
    "compile": "torch.compile makes kernels and graphs of its own",
    "pack": "the host works out a mask for rows that hold several examples",
    "checkpointing": "the backward pass restores random states, which no graph can",
}

DEFAULT_PRESET = "nano"
