"""The words of a command: variants, and `key=value[,value...]` axes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from ..core.errors import UserError

# Settings that are text: what YAML would read as a number or a date (a tag 1.0, forty digits, a folder 2024) is not.
TEXT = (
    "model", "revision", "device", "data.train", "data.split", "data.revision", "eval.data", "eval.revision",
    "eval.valid", "eval.general",
)  # fmt: skip


def parse_words(words: Iterable[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """Split a command's words into variants and `key=value[,value...]` axes.

    Commas separate the values of a sweep; inside brackets they belong to one list: `targets=[q_proj,v_proj]`.
    Values are read as YAML; of `TEXT`, only `null` and quotes are.
    """
    variants: list[str] = []
    axes: dict[str, list[Any]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            variants += [v for v in word.split(",") if v]
        elif not key or not text:
            raise UserError(f"cannot read {word!r}; write key=value, or key=a,b,c to sweep")
        elif key in axes:
            raise UserError(f"{key} is given twice; write {key}=a,b to sweep over two values")
        else:
            axes[key] = [_value(part, word, key) for part in _split(text)]
            if any(value == "" for value in axes[key]):
                raise UserError(f"{word}: one of its values is empty; write {key}=VALUE, or leave it out")
    return variants, axes


def _split(text: str) -> list[str]:
    return re.split(r",(?![^\[]*\])", text)


def _value(text: str, word: str, key: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        if key in TEXT:
            return text
        raise UserError(f"cannot read the value in {word!r}") from error
    return text if key in TEXT and not isinstance(value, str | list | dict | None) else value
