"""From settings and a preset to one resolved, validated run, and its id.

What a user types wins over the preset, and the preset over the variant's own defaults (benchmark/variants.yaml).
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from antipasto import ALIASES, CONFIGS, REGISTRY, AdapterConfig, AdapterError, FrozenBasisConfig
from antipasto.config import did_you_mean

from ..core.errors import UserError
from ..core.fingerprint import digest, fingerprint, task_fingerprint
from ..core.paths import benchmark_dir, locate
from ..nano import MODEL_DIR

BASE = "base"  # the untuned model: a row like any other, without an adapter
EMBEDDED = {"nano": MODEL_DIR}  # models that ship with the package, by the name that a preset calls them
DEFAULT_PRESET = "nano"

# The words of the grammar that are written another way in an adapter's config.
ADAPTER_WORDS = {"rank": "r", "targets": "target_names", "exclude": "exclude_names"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Strict):
    """What is trained on: rows of MetaMathQA's schema."""

    train: str
    split: str = "train"
    limit: int | None = Field(None, ge=1, description="use only this many rows")
    max_length: int = Field(512, ge=8, description="longer examples, in tokens, are left out")
    calibration: int = Field(64, ge=1, description="examples shown to the variants that look at data")


class EvalConfig(_Strict):
    """What is scored on: lm-eval tasks, and a validation split scored the same way."""

    tasks: tuple[str, ...] = Field(min_length=1)
    data: str | None = Field(None, description="test questions in place of the first task's own")
    valid: str = Field("holdout", description="questions, or `holdout` (set aside from data.train), or `none`")
    valid_limit: int = Field(200, ge=1)
    limit: int | None = Field(None, ge=1, description="only the first questions of each task")
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(32, description="questions at once, or `auto`")
    backend: Literal["hf", "static", "continuous", "vllm"] = Field("hf", description="what generates answers")
    # Measured beside the scores, and no part of a run's identity.
    general: str = Field("none", description="texts to measure forgetting on: a file, a hub id, or `none`")
    general_limit: int = Field(200, ge=1, description="how many of them")

    @field_validator("tasks", mode="before")
    @classmethod
    def _one_task(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class RunConfig(_Strict):
    """Everything that can change a run's outcome."""

    preset: str
    model: str
    revision: str | None = Field(None, description="branch, tag or commit of a hub model")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quant: Literal["none", "8bit", "4bit"] = Field("none", description="bitsandbytes quantisation of the base model")
    device: str = Field("auto", description="cuda where there is one, else cpu; no part of a run's identity")
    device_map: Literal["none", "auto"] = Field(
        "none", description="auto spreads a base model over all GPUs; no part of a run's identity"
    )
    costs: bool = Field(True, description="measure times and memory after the run; no part of its identity")
    compile: bool = Field(False, description="train through torch.compile")
    pack: bool = Field(False, description="train on rows that hold several examples, up to data.max_length")
    checkpoint: int = Field(50, ge=1, description="steps between checkpoints; no part of a run's identity")
    variant: str
    adapter: dict[str, Any]
    lr: float = Field(gt=0)
    seed: int = Field(0, ge=0, lt=2**32)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1, description="examples in one forward pass")
    grad_accum: int = Field(1, ge=1, description="forward passes in one optimizer step")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which lr rises")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    data: DataConfig
    eval: EvalConfig

    @property
    def adapter_config(self) -> AdapterConfig:
        return AdapterConfig.from_dict({"variant": self.variant} | self.adapter)

    @property
    def trains(self) -> bool:
        """Whether a learning rate means anything to it."""
        return self.variant != BASE and REGISTRY[self.variant].trains

    @property
    def rank(self) -> int | Literal["full"] | None:
        """`full` is min(d_in, d_out) of each target; None where the variant has no rank."""
        if self.variant == BASE or "r" in self.adapter_config.inert():
            return None
        return self.adapter["r"] or "full"

    @property
    def protocol(self) -> str:
        """Eight hex digits that two runs share where only their adapters, learning rates and seeds differ."""
        shared = {k: v for k, v in identity(self).items() if k not in ("variant", "adapter", "lr", "seed")}
        shared["data"].pop("calibration", None)  # what an adapter looks at when it is attached is its own affair
        return digest(shared)

    @property
    def scoring(self) -> str:
        """Eight hex digits that two runs share where the same model is scored in the same way, however trained."""
        return digest({k: v for k, v in _untrained(identity(self)).items() if k not in ("variant", "adapter")})

    @property
    def arm(self) -> str:
        """Eight hex digits that two runs share where only their seeds differ."""
        return digest({k: v for k, v in identity(self).items() if k != "seed"})

    @property
    def run_id(self) -> str:
        """See DESIGN: readable fields, then a digest of the whole identity. Safe as a file name."""
        place = locate(self.model)
        name = place.name if place else self.model.rpartition("/")[2]
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[:48] or "model"
        parts = [slug, self.variant]
        if self.variant != BASE:
            if "rotate_basis" in self.adapter:
                parts.append(f"rot{self.adapter['rotate_basis']}")
            if self.rank is not None:
                parts.append(f"r{self.rank}")
            if self.trains:
                parts += [f"lr{self.lr:g}", f"s{self.steps}"]
            parts.append(f"seed{self.seed}")
        return "__".join([*parts, digest(identity(self))])


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
            runs.setdefault(run.run_id, run)
    return list(runs.values())


# ------------------------------------------------------------------ composition


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
        run["adapter"] = _adapter(variant, flat)
    else:
        run["seed"] = 0
    if variant == BASE or not REGISTRY[variant].trains:
        run["lr"] = 1.0  # nothing is trained: an axis that it lacks collapses
    try:
        return RunConfig.model_validate(run)
    except ValidationError as error:
        raise UserError(one_line(error)) from error


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


def _adapter(variant: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter's own fields, typed, checked by its config class, and complete."""
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
            word = words.get(name, name)
            raise UserError(f"{word}={value}: {error.errors()[0]['msg'].lower()}") from error
    try:
        config = cls(**values)
    except AdapterError as error:
        raise UserError(f"{variant}: {error}") from error
    # A setting that changes nothing under the others collapses, as an axis does that the variant lacks.
    inert = config.inert()
    kept = {field.name: field.default for field in dataclasses.fields(cls) if field.name in inert}
    return {k: v for k, v in (config.to_dict() | kept).items() if k != "variant"}


def one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    if first["type"] == "missing":
        return f"{key} is not set; write {key}=VALUE"
    return f"{key}={first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}"


# ------------------------------------------------------------------ identity


def identity(run: RunConfig) -> dict[str, Any]:
    """All that can change the outcome, with files named by their content and not by where they lie."""
    values = run.model_dump(exclude={"preset", "device", "device_map", "costs", "checkpoint"}, mode="json")
    for name in ("compile", "pack"):  # ids are older than these settings
        if not values[name]:
            del values[name]
    if run.eval.backend == "hf":
        del values["eval"]["backend"]
    values["model"] = model_fingerprint(run)
    values["data"]["train"] = fingerprint(run.data.train)
    for key in ("data", "valid"):
        if values["eval"][key] not in (None, "holdout", "none"):
            values["eval"][key] = fingerprint(values["eval"][key])
    for key in ("general", "general_limit"):
        del values["eval"][key]
    values["eval"]["tasks"] = [task_fingerprint(task) for task in run.eval.tasks]
    if run.variant == BASE:
        return _untrained(values)
    if not REGISTRY[run.variant].needs_data(run.adapter_config):
        del values["data"]["calibration"]
    return values


def _untrained(values: dict[str, Any]) -> dict[str, Any]:
    """What is left of an identity where nothing is trained: the model, what it is scored on, and how."""
    training = (
        "lr", "seed", "steps", "batch_size", "grad_accum", "warmup", "weight_decay", "max_grad_norm", "compile",
        "pack",
    )  # fmt: skip
    kept = {k: v for k, v in values.items() if k not in training}
    return kept | {"data": {k: v for k, v in values["data"].items() if k not in ("max_length", "calibration")}}


def model_fingerprint(run: RunConfig) -> str:
    return fingerprint(str(EMBEDDED.get(run.model, run.model)))
