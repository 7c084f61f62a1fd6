"""The templates of the page: their environment, which takes no text for markup, and the files of style and scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ..core.text import printable

TEMPLATES = Path(__file__).parent / "templates"
CODE = re.compile("`([^`]+)`")


def plain_texts(value: Any) -> Any:
    """The same with every text printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): plain_texts(entry) for key, entry in value.items()}
    return [plain_texts(entry) for entry in value] if isinstance(value, list | tuple) else value


@cache  # it holds the compiled template
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_plain_text,
    )  # fmt: skip
    made.filters |= {"breakable": _breakable, "with_code": _with_code}
    return made


def _breakable(name: str) -> Markup:
    """A name that a line can end in behind = and _, and not within a word."""
    return Markup(str(escape(printable(name))).replace("=", "=<wbr>").replace("_", "_<wbr>"))


def _with_code(sentence: str) -> Markup:
    """A sentence in which what stands between backticks is code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(printable(sentence)))))


def _plain_text(value: object) -> object:
    """Text without control characters; what is ours and holds markup stays as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def assets(names: Sequence[str]) -> Markup:
    return Markup("\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names))  # ours, not a model's
