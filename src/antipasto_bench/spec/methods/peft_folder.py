"""A folder of PEFT's own method comparison as an arm: its adapter_config.json, and what training_params.json adds.

    peft=../peft/method_comparison/MetaMathQA/experiments/lora/llama-3.2-3B-rank32

What is an arm's comes with it: the adapter, its learning rate and weight decay, its optimizer and its schedule. What
is a protocol's, as steps and batch size, is the preset's. The content is recorded, and not where it lay.
"""

from __future__ import annotations

import glob
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import read_regular
from ...core.json_types import Json
from . import peft_settings
from .peft_types import PREFIX

CONFIG, TRAINING = "adapter_config.json", "training_params.json"
DEFAULTS = "default_training_params.json"  # two folders above an experiment, in PEFT's repository
FULL = {"variant": "full", "targets": ["all"]}  # an experiment without an adapter: all of the model is trained

_OPTIMIZERS = {"adamw": "adamw", "lora-fa": "lora-fa", "lorafa": "lora-fa", "riemannian": "riemannian"}
_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant"}
_OWN_OPTIONS = {"lr", "weight_decay", "reg", "r", "lora_alpha"}  # the last two repeat the adapter's
_PUBLISHED = {"optimizer_type": "AdamW", "lr_scheduler": "cosine", "autocast_adapter_dtype": True}
_PUBLISHED_OPTIONS = {"lr": 1e-4, "weight_decay": 0.1}  # of PEFT's default_training_params.json


@dataclass(frozen=True)
class FolderArm:
    """An arm that a folder describes.

    Attributes:
        variant: its name.
        settings: of the run, by their whole keys.
        notes: what the folder says and a run here does otherwise, a line each.
    """

    variant: str
    settings: Json
    notes: list[str] = field(default_factory=list)


def expand_folders(patterns: list[Any]) -> list[Path]:
    """The folders that some paths name, with `*` for any name.

    Raises:
        UserError: one names none.
    """
    folders: list[Path] = []
    for pattern in patterns:
        found = sorted(Path(each) for each in glob.glob(str(Path(str(pattern)).expanduser())))
        here = [each for each in found if each.is_dir() and _is_experiment(each)]
        if not here:
            reason = f"has neither {CONFIG} nor {TRAINING}" if found else "no such folder"
            raise UserError(f"peft={pattern}: {reason}; give a folder of an experiment of PEFT")
        folders += here
    return list(dict.fromkeys(folders))


def _is_experiment(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or (folder / TRAINING).is_file()


def read_folder(folder: Path, known: set[str], steps: int | None) -> FolderArm:
    """The arm of a folder.

    Args:
        known: names of the run's settings; what only a later program knows is said in a note.
        steps: of the run, for schedules that a folder gives in steps of its own.

    Raises:
        UserError: a file cannot be read, or holds what no arm can be made of.
    """
    training = _json(folder / TRAINING) if (folder / TRAINING).is_file() else {}
    settings, notes = _training(training | {}, _defaults(folder), folder, known)
    if not (folder / CONFIG).is_file():
        return FolderArm(str(FULL["variant"]), settings | {"target_names": FULL["targets"]}, notes)
    values = _json(folder / CONFIG)
    kind = str(values.get("peft_type", "")).lower()
    if not kind:
        raise UserError(f"{folder / CONFIG}: has no peft_type")
    fields = peft_settings.own_fields(kind)
    of_run = peft_settings.OF_THE_RUN.get(kind, {})
    for name, value in values.items():
        if name in peft_settings.NOT_SETTINGS or name in of_run or name in peft_settings.SHAPES:
            continue
        key = peft_settings.key_of(name)
        if key not in fields:
            if value not in (None, {}, [], False):
                notes.append(f"{name} is no setting of this PEFT's {kind}, and is left out")
            continue
        settings[key] = value
    if kind == "adalora":
        notes += _fit_schedule(settings, values.get("total_step"), steps)
    return FolderArm(PREFIX + kind, settings, notes)


def _fit_schedule(settings: Json, total: Any, steps: int | None) -> list[str]:
    """Scale AdaLoRA's schedule, which is in steps, to those of the run."""
    if not isinstance(total, int) or total < 1 or steps is None or steps == total:
        return []
    for name in ("tinit", "tfinal"):
        if isinstance(settings.get(name), int):
            settings[name] = settings[name] * steps // total
    return [f"tinit and tfinal are of {total} steps; for {steps} they are {settings['tinit']} and {settings['tfinal']}"]


def _training(training: Json, defaults: Json, folder: Path, known: set[str]) -> tuple[Json, list[str]]:
    """What of the training's parameters is the arm's, by the keys of a run."""
    chosen = _PUBLISHED | {name: defaults[name] for name in _PUBLISHED if name in defaults} | training
    options = _PUBLISHED_OPTIONS | defaults.get("optimizer_kwargs", {}) | training.get("optimizer_kwargs", {})
    optimizer = _OPTIMIZERS.get(str(chosen["optimizer_type"]).lower())
    if optimizer is None:
        names = ", ".join(sorted(set(_OPTIMIZERS.values())))
        raise UserError(f"{folder / TRAINING}: optimizer_type={chosen['optimizer_type']}: expected one of {names}")
    strange = sorted(options.keys() - _OWN_OPTIONS)
    if strange:
        raise UserError(f"{folder / TRAINING}: optimizer_kwargs has {strange[0]!r}, which no run here has")
    settings: Json = {name: float(options[name]) for name in ("lr", "weight_decay")} | {"optimizer": optimizer}
    notes = []
    if optimizer == "riemannian":
        settings["optimizer_reg"] = float(options.get("reg", 1e-2))
    wanted = {"schedule": _SCHEDULES.get(str(chosen["lr_scheduler"]))}
    wanted["adapter_dtype"] = "float32" if chosen["autocast_adapter_dtype"] else None
    for key, value in wanted.items():
        if value is not None and key in known:
            settings[key] = value
    if wanted["schedule"] not in (None, "cosine") and "schedule" not in known:
        notes.append(f"lr_scheduler={chosen['lr_scheduler']}: the schedule here is cosine")
    if chosen.get("init_kv_cache_prefix"):
        settings["init_kv_cache_prefix"] = str(chosen["init_kv_cache_prefix"])
    return settings, notes


def _defaults(folder: Path) -> Json:
    path = folder.resolve().parent.parent / DEFAULTS
    return _json(path) if path.is_file() else {}


def _json(path: Path) -> Json:
    try:
        values = json.loads(read_regular(path).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping")
    return values


def say(folder: Path, notes: list[str]) -> None:
    """Say in one line what a run does otherwise than its folder."""
    if notes:
        warnings.warn(f"peft={folder.parent.name}/{folder.name}: {'; '.join(notes)}", stacklevel=3)
