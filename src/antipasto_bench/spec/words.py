"""From a config back to the words that a user types for it: the reverse of `compose`."""

from __future__ import annotations

import json
from typing import Any

from ..core.json_types import Json
from ..core.scalars import NULLS, read_scalar
from .compose import DEFAULT_PRESET, compose, preset_names
from .config import ADAPTER_WORDS, SCORING_VERSION, RunConfig
from .grammar import TEXT

_WORDS = {name: word for word, name in ADAPTER_WORDS.items()}
_MORE_ROUNDS = 3  # a setting that is given can change what another is by default, as data.train changes eval.valid


def words_of(config: RunConfig) -> list[str]:
    """The words that name a run: its variant, its preset, and every setting in which it is not as that preset has it.

    Rules of scoring that no run is made by any more are left out. A preset is named where it is among those that are
    shipped or the project's; settings of any other are given one by one, over the default preset.

    Raises:
        UserError: the variant is not there any more, or its default is no run of its own.
    """
    preset = config.preset if config.preset in preset_names() else DEFAULT_PRESET
    wanted = _flat(config) | {"eval.version": SCORING_VERSION}
    given: Json = {}
    for _ in range(_MORE_ROUNDS):
        default = _flat(compose(config.variant, given, preset))
        different = {key: value for key, value in wanted.items() if default.get(key, value) != value}
        if not different:
            break
        given |= different
    settings = [f"{_WORDS.get(key, key)}={_value(value, is_text=key in TEXT)}" for key, value in given.items()]
    return [config.variant, *settings, f"preset={preset}"]


def _flat(config: RunConfig) -> Json:
    """All settings by their whole key, those of the adapter by its config's names."""
    values = config.model_dump(mode="json")
    adapter = values.pop("adapter")
    if config.method.tuned:
        _, adapter = config.method.canonical(adapter)  # older runs can name settings that they do not use
    sections = {f"{name}.{key}": value for name in ("data", "eval") for key, value in values.pop(name).items()}
    return {key: value for key, value in {**values, **sections, **adapter}.items() if key not in ("preset", "variant")}


def _value(value: Any, *, is_text: bool = False) -> str:
    """A value so that the grammar reads it back.

    Args:
        is_text: whether the grammar takes all values of the setting for text.
    """
    if isinstance(value, list):
        return "[" + ",".join(map(_value, value)) + "]"
    if isinstance(value, dict):  # flow YAML, and without a space
        return json.dumps(value, separators=(",", ":"))
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    plain = _is_plain_text(value) if is_text else _is_plain_word(value)
    return value if plain else _quoted(value)


def _is_plain_text(text: str) -> bool:
    return text not in NULLS and "," not in text and not text.startswith(("'", '"', "["))


def _is_plain_word(text: str) -> bool:
    try:
        is_text = isinstance(read_scalar(text), str)
    except ValueError:
        return False
    return is_text and text[0].isalpha() and all(c.isalnum() or c in "_-./" for c in text)


def _quoted(text: str) -> str:
    """A text in YAML's double quotes; the characters at which the grammar splits a word are written as escapes."""
    quoted = json.dumps(text, ensure_ascii=False)
    for character in ",[]":
        quoted = quoted.replace(character, f"\\x{ord(character):02X}")
    return quoted
