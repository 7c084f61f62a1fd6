"""Every tuner type of PEFT as a variant: `peft:vera`.

A record holds all settings of its config, so that it is read and compared where PEFT is not installed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from antipasto.config import AdapterError

from ...core.errors import UserError
from ...core.files import read_regular
from ...core.json_types import Json
from ...core.paths import EMBEDDED, benchmark_dir, locate
from . import peft_settings
from .method import Method, Rank
from .peft_memory import remembered
from .peft_types import NO_CHANGE_OF_WEIGHTS, OWN_LAYERS, PREFIX, PROMPTS, TYPES, type_of

PRESET_TARGETS = "preset.target_names"  # of a preset's block for all variants: of every tuner that can be at any layer
DATA_INITS = ("eva", "corda", "lora_ga")
_UNSUPPORTED = {
    "alora_invocation_tokens": "aLoRA adapts a part of each prompt, which no question here has",
    "arrow_config": "Arrow routes among adapters that are trained before",
    "layer_replication": "it makes another model, with more layers",
    "megatron_config": "it is for models of Megatron",
    "monteclora_config": "its samples are drawn ahead, outside the model: an interrupted run would end otherwise",
}


class PeftMethod(Method):
    """A tuner type of PEFT."""

    needs_whole_model = True

    def __init__(self, variant: str) -> None:
        """
        Raises:
            UserError: PEFT has no such type, or none is known and PEFT is not installed.
        """
        self.kind = type_of(variant)
        self.variant = PREFIX + self.kind
        if self.kind not in TYPES:
            peft_settings.config_class(self.kind)

    @property
    def factors(self) -> bool:  # type: ignore[override]
        return self.kind == "lora"

    @property
    def mergeable(self) -> bool:  # type: ignore[override]
        return self.kind not in NO_CHANGE_OF_WEIGHTS

    @property
    def is_prompt(self) -> bool:
        """Whether it stands before the model, as tokens or keys and values that it is given."""
        return self.kind in PROMPTS

    def fields(self) -> Mapping[str, Any]:
        own = peft_settings.own_fields(self.kind)
        return own | peft_settings.word_types(self.kind, own)

    def given(self, flat: Mapping[str, Any]) -> Json:
        values = super().given(flat)
        if PRESET_TARGETS in flat and self._takes_targets_of_all(values, str(flat.get("model", ""))):
            values["target_names"] = flat[PRESET_TARGETS]
        return values

    def _takes_targets_of_all(self, values: Mapping[str, Any], model: str) -> bool:
        """Whether the layers of all variants are its own, too: nothing says others, and it is not made for some."""
        fields = peft_settings.own_fields(self.kind)
        if "target_modules" not in fields or {"target_names", "target_modules", "target_parameters"} & values.keys():
            return False
        if self.kind not in OWN_LAYERS:
            return True
        kind = model_type(model)
        return kind is not None and not remembered(
            ["has default targets", self.kind, kind], lambda: kind in default_targets(self.kind)
        )

    def canonical(self, values: Mapping[str, Any]) -> tuple[str, Json]:
        fields = peft_settings.own_fields(self.kind)
        own = peft_settings.to_fields(self.kind, values, fields)
        settings = peft_settings.all_settings(self.kind, own)
        return self.variant, settings | {key: own.get(key) for key in peft_settings.MORE_SETTINGS.get(self.kind, ())}

    def config(self, adapter: Mapping[str, Any], steps: int) -> Any:
        """The config of PEFT for a run of so many steps.

        Raises:
            AdapterError: PEFT refuses it.
        """
        return peft_settings.make_config(self.kind, self._own_fields(adapter, steps))

    def _own_fields(self, adapter: Mapping[str, Any], steps: int) -> Json:
        fields = {peft_settings.field_of(key): value for key, value in adapter.items()}
        return fields | ({"total_step": steps} if self.kind == "adalora" else {})

    def problem(self, adapter: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
        if self.kind != "lora" and (problem := super().problem(adapter, settings)):
            return problem
        if self.is_prompt and settings["pack"]:
            return f"{self.variant} stands before each prompt, and a packed row holds several; write pack=false"
        if self.is_prompt and settings["compile"]:
            return f"{self.variant} is not compiled; write compile=false"
        if settings["adapter_dtype"] != "float32" and settings["dtype"] != settings["adapter_dtype"]:
            return "PEFT keeps parameters in float32 or in the base's dtype; write adapter_dtype=float32"
        if settings["optimizer"] == "loraplus" and settings["lr_ratio"] == 1:
            return "optimizer=loraplus needs the ratio of B's learning rate to A's; write lr_ratio=16, say"
        if self.kind == "trainable_tokens" and not adapter.get("token_indices"):
            return "it trains the embeddings of given tokens, and none is given; write token_indices=[1,2], say"
        for name, why in _UNSUPPORTED.items():
            if adapter.get(name):
                return f"{name}: {why}"
        if adapter.get("init_lora_weights") in DATA_INITS:
            return f"init_lora_weights={adapter['init_lora_weights']}: PEFT makes it from data in a way that no run has"
        steps = settings["steps"]
        try:
            question = ["accepts", self.kind, self._own_fields(adapter, steps)]
            remembered(question, lambda: self.config(adapter, steps) is not None)
        except AdapterError as error:
            return str(error)
        return None

    def calibrates(self, adapter: Mapping[str, Any]) -> bool:
        return adapter.get("init_lora_weights") in DATA_INITS

    def rank(self, adapter: Mapping[str, Any]) -> Rank:
        rank = adapter.get("target_r" if self.kind == "adalora" else "r")
        return rank if isinstance(rank, int) and rank > 0 else None


def default_targets(kind: str) -> Mapping[str, Any]:
    """The layers that PEFT adapts where nobody says which, by the type of a model; of some tuners for every type."""
    try:
        from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    except ImportError as error:
        raise UserError(f"{PREFIX}{kind} needs PEFT") from error
    tuner = {getattr(name, "value", str(name)).lower(): cls for name, cls in PEFT_TYPE_TO_TUNER_MAPPING.items()}[kind]
    if kind in ("trainable_tokens", "adaption_prompt", "ln_tuning"):  # embeddings, all attention, norms of any model
        return _Anything()
    targets: Mapping[str, Any] = getattr(tuner, "target_module_mapping", {})
    return targets


class _Anything(Json):
    def __contains__(self, key: object) -> bool:
        return True


def model_type(model: str) -> str | None:
    """The `model_type` of a model whose config is on this machine or shipped; None of another."""
    folder = EMBEDDED.get(model) or locate(model)
    path = benchmark_dir() / "architectures" / f"{model.replace('/', '--')}.json"
    try:
        values = json.loads(read_regular(path if folder is None else folder / "config.json").decode())
        kind = values["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return kind if isinstance(kind, str) else None
