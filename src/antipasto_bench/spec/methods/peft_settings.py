"""Between a user's settings and a config of PEFT: types of fields, words that mean the same, the form in a record.

Nothing outside this module and run/methods looks into PEFT. It is imported when a setting is composed to which no
answer of it is kept (peft_memory.py), and never to read one that is recorded.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
import re
import types
import typing
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, Union

from antipasto.config import ALL_LINEAR, AdapterError, did_you_mean

from ...core.errors import UserError, first_line
from ...core.install import install_hint
from ...core.json_types import Json
from .peft_memory import remembered, spelled, type_of
from .peft_types import PREFIX, REFUSED

# Of a run and not of an adapter, or made by PEFT for itself.
NOT_SETTINGS = frozenset(
    {
        "peft_type", "task_type", "inference_mode", "base_model_name_or_path", "revision", "peft_version",
        "auto_mapping", "runtime_config",
    }
)  # fmt: skip
OF_THE_RUN = {"adalora": {"total_step": 2**31, "r": 8}}  # set from the run, or without effect; values to check with
# What PEFT's own comparison says of an adapter beside its config.
MORE_SETTINGS: dict[str, Json] = {"prefix_tuning": {"init_kv_cache_prefix": str | None}}
# Of a model's shape: PEFT reads them off the model.
SHAPES = ("token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules")
TAKEN = frozenset({"variant"})  # words of a run that some config has as a field: typed `peft.variant`
OWN_PREFIX = "peft."

# Fields that a word of the grammar can mean.
SYNONYMS = {
    "r": ("target_r", "oft_block_size"),
    "alpha": ("lora_alpha", "psoft_alpha", "randlora_alpha"),
    "target_names": ("target_modules",),
    "exclude_names": ("exclude_modules",),
    "layers": ("layers_to_transform",),
}
_RANK = {"adalora": "target_r", "osf": ""}  # where it is not called r
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def config_class(kind: str) -> Any:
    """The config class of a tuner type.

    Raises:
        UserError: PEFT is not installed, has no such type, or the type cannot be an arm.
    """
    if kind in REFUSED:
        raise UserError(f"{PREFIX}{kind} cannot be an arm: {REFUSED[kind]}")
    classes = config_classes(PREFIX + kind)
    if kind not in classes:
        names = [PREFIX + name for name in classes if name not in REFUSED]
        raise UserError(f"unknown variant {PREFIX + kind!r}{did_you_mean(PREFIX + kind, names)}")
    return classes[kind]


def config_classes(wanted: str) -> Json:
    """Every config class that PEFT has, by the lower-case name of its type.

    Args:
        wanted: the variant that it is needed for, for the message.

    Raises:
        UserError: PEFT is not installed.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # advice on optional kernels
    try:
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    except ImportError as error:
        raise UserError(f"{wanted} needs PEFT; install it with: {install_hint('peft')}") from error
    return {getattr(name, "value", str(name)).lower(): cls for name, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}


@cache
def own_fields(kind: str) -> Json:
    """The types of a config's settings, by the keys that they are typed and recorded under."""
    types_of = remembered(
        ["fields", kind], lambda: {key: spelled(hint) for key, hint in _fields_of(config_class(kind), kind).items()}
    )
    return {key: type_of(spelling) for key, spelling in types_of.items()}


def _fields_of(cls: Any, kind: str) -> Json:
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, TypeError):  # an annotation that names something imported for type checking alone
        hints = {}
    left_out = NOT_SETTINGS | OF_THE_RUN.get(kind, {}).keys()
    fields = [field for field in dataclasses.fields(cls) if field.name not in left_out]
    own = {key_of(field.name): _plain(hints.get(field.name, Any)) for field in fields}
    nothing = {key_of(field.name) for field in fields if field.default is None}  # whatever its type says
    own = {key: hint | None if key in nothing and hint is not Any else hint for key, hint in own.items()}
    return own | MORE_SETTINGS.get(kind, {})


def key_of(field: str) -> str:
    return OWN_PREFIX + field if field in TAKEN else field


def field_of(key: str) -> str:
    return key.removeprefix(OWN_PREFIX)


def words(kind: str, fields: Mapping[str, Any]) -> dict[str, str]:
    """Words of the grammar by which a config has a field under another name: word to field."""
    found = {"r": _RANK.get(kind, "r"), "target_names": "target_modules", "exclude_names": "exclude_modules"}
    found["layers"] = "layers_to_transform"
    found["alpha"] = next((name for name in ("alpha", *SYNONYMS["alpha"]) if name in fields), "")
    return {word: field for word, field in found.items() if field in fields and word != field}


def word_types(kind: str, fields: Mapping[str, Any]) -> Json:
    """The types of `words`' values."""
    lists = {"target_names": list[str] | str, "exclude_names": list[str] | str, "layers": list[int] | int}
    return {word: lists.get(word, fields[field]) for word, field in words(kind, fields).items()}


def to_fields(kind: str, values: Mapping[str, Any], fields: Mapping[str, Any]) -> Json:
    """Values by the config's own fields, in PEFT's meaning.

    Raises:
        AdapterError: two words for one field are given.
    """
    by_word = words(kind, fields)
    own: Json = {}
    for key, value in values.items():
        field = field_of(by_word.get(key, key))
        if field in own or (key in by_word and by_word[key] in values):
            raise AdapterError(f"{key} and {by_word.get(key, field)} are two words for one setting; give one of them")
        own[field] = modules(value) if key in ("target_names", "exclude_names") else value
    targets, layers = own.get("target_modules"), own.get("layers_to_transform")
    if isinstance(targets, str) and targets != ALL_LINEAR and layers is not None and "target_names" in values:
        own["target_modules"] = _in_layers(targets, layers)  # PEFT takes numbers beside a list of names alone
        del own["layers_to_transform"]
    if kind == "oft" and "r" in own and "oft_block_size" not in own:
        own["oft_block_size"] = 0  # one of them follows from the other, and PEFT's default is of this one
    if kind == "adalora" and "target_r" in own and "init_r" not in own:
        own["init_r"] = -(-3 * own["target_r"] // 2)  # 12 for 8, as its defaults have it
    if kind == "adalora" and own.get("target_r", 0) >= own.get("init_r", own.get("target_r", 0) + 1):
        raise AdapterError(f"init_r={own['init_r']} must be above target_r={own['target_r']}, to which it is pruned")
    return own


def modules(names: Sequence[str] | str) -> list[str] | str:
    """PEFT's spelling of our patterns: a list of plain names, or one regex over whole paths.

    Ours match a whole path, or its end after a dot; so do PEFT's names, and its regex must match the whole path.
    """
    patterns = [names] if isinstance(names, str) else list(names)
    if [pattern.lower() for pattern in patterns] == [ALL_LINEAR]:
        return ALL_LINEAR
    if all(_PLAIN_NAME.fullmatch(pattern) for pattern in patterns):
        return sorted(set(patterns))
    return rf"(?:.*\.)?(?:{'|'.join(sorted(set(patterns)))})"


def _in_layers(regex: str, layers: Sequence[int] | int) -> str:
    """A regex over whole paths, for those alone whose first number is that of one of some layers."""
    numbers = [layers] if isinstance(layers, int) else sorted(set(layers))
    return rf"(?:[^.]*[^.0-9][^.]*\.)*(?:{'|'.join(map(str, numbers))})\.{regex}"


def make_config(kind: str, settings: Mapping[str, Any]) -> Any:
    """The config of PEFT.

    Args:
        settings: by the config's own fields.

    Raises:
        AdapterError: PEFT refuses them; with its own words.
    """
    cls = config_class(kind)
    more = MORE_SETTINGS.get(kind, {})
    given = OF_THE_RUN.get(kind, {}) | {name: _copied(v) for name, v in settings.items() if name not in more}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cls(task_type="CAUSAL_LM", **given)
    except (ValueError, TypeError, ImportError, KeyError, AttributeError, NotImplementedError) as error:
        raise AdapterError(first_line(error)) from error


def all_settings(kind: str, own: Mapping[str, Any]) -> Json:
    """All settings of the config that some of its fields give, as JSON values, by their keys: what a record has.

    Raises:
        AdapterError: PEFT refuses them, or a value is none that JSON has.
    """
    return remembered(["settings", kind, own], lambda: _settings_of(kind, make_config(kind, own)))


def _settings_of(kind: str, config: Any) -> Json:
    left_out = NOT_SETTINGS | OF_THE_RUN.get(kind, {}).keys()
    return {
        key_of(field.name): _in_any_order(in_json(getattr(config, field.name), field.name), field.name)
        for field in sorted(dataclasses.fields(config), key=lambda field: field.name)
        if field.name not in left_out
    }


def _in_any_order(value: Any, name: str) -> Any:
    """A list of layers sorted: PEFT adapts them in the model's order, not in theirs."""
    return sorted(set(value)) if name.endswith("_modules") and isinstance(value, list) else value


def in_json(value: Any, name: str) -> Any:
    """A value in JSON: sets sorted, enums by their values, configs within a config as mappings."""
    if isinstance(value, enum.Enum):
        return in_json(value.value, name)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, set | frozenset):
        return sorted(in_json(each, name) for each in value)
    if isinstance(value, list | tuple):
        return [in_json(each, name) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: in_json(getattr(value, field.name), name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): in_json(value[key], name) for key in sorted(value, key=str)}
    raise AdapterError(f"{name}: {type(value).__name__} is nothing that a record can hold")


def _copied(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, list) else value


def _plain(hint: Any) -> Any:
    """A field's type with what a user can type in place of enums, of configs and of patterns of words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        parts = [_plain(each) for each in inner]
        return Any if Any in parts else Union[tuple(parts)]  # noqa: UP007  # of a tuple that is only known here
    if origin is Literal:
        return str if any(isinstance(value, str) and "[" in value for value in inner) else hint
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return Literal[tuple(each.value for each in hint)]
    if dataclasses.is_dataclass(hint) or hint is dict or origin is dict:
        return Json
    plain = (int, float, str, bool, type(None))
    return hint if hint in plain or (origin is list and inner and inner[0] in plain) else Any
