"""The words of a command: variants, and `key=value[,value...]` axes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from ..core.errors import UserError
from ..core.scalars import NULLS
from ..core.yaml_files import NotPlainError, parse

# Settings that are text: what elsewhere is a number (a tag 1.0, forty digits, a folder 2024) is not.
TEXT = (
    "model", "revision", "device", "data.train", "data.split", "data.revision", "eval.data", "eval.revision",
    "eval.valid", "eval.general",
)  # fmt: skip


def parse_words(words: Iterable[str], text_keys: Collection[str] = TEXT) -> tuple[list[str], dict[str, list[Any]]]:
    """Split a command's words into variants and `key=value[,value...]` axes.

    Commas separate the values of a sweep; inside brackets they belong to one list: `targets=[q_proj,v_proj]`.
    Values are read as in a preset (core/scalars.py).

    Args:
        text_keys: whose values are text as typed, but for `null` and quotes.

    Raises:
        UserError: a word that is neither, a key given twice, or a value that cannot be read.
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
            axes[key] = [_value(part, key, key in text_keys or key in ("preset", "peft")) for part in _split(text)]
            if any(value == "" for value in axes[key]):
                raise UserError(f"{word}: one of its values is empty; write {key}=VALUE, or leave it out")
    return variants, axes


def _split(text: str) -> list[str]:
    if "{" not in text:
        return re.split(r",(?![^\[]*\])", text)
    depth, parts = 0, [""]
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _value(text: str, key: str, is_text: bool) -> Any:
    if is_text and not (text in NULLS or text.startswith(("'", '"', "["))):
        return text
    try:
        return parse(text, lambda keys: is_text)
    except NotPlainError as error:
        if is_text and text.startswith("["):
            return text
        problem = str(error).removeprefix("line 1: ").removeprefix(f"{text}: ")
        raise UserError(f"{key}={text}: {problem}") from error
