"""The words of a command: variants, and `key=value[,value...]` axes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from ..core.errors import UserError


def parse_words(words: Iterable[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """Split a command's words into variants and `key=value[,value...]` axes.

    Commas separate the values of a sweep; inside brackets they belong to one list: `targets=[q_proj,v_proj]`.
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
            axes[key] = [_value(part, word) for part in _split(text)]
    return variants, axes


def _split(text: str) -> list[str]:
    return re.split(r",(?![^\[]*\])", text)


def _value(text: str, word: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"cannot read the value in {word!r}") from error
