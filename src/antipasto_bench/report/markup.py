"""Text that Markdown and LaTeX show as it is, whatever a model, a file or a row has put into it."""

from __future__ import annotations

import re

from ..core.text import one_line

_MARKUP = re.compile(
    r"[|*`\\~$]|<(?=\S)|&(?=#|\w+;)|\](?=[(\[])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
    r"|^[\[>=]|^#(?=[#\s]|$)|^[-+](?=[\s+-]|$)"  # what begins a block
)
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


def escaped(text: str) -> str:
    """Text in a line, in a table too: characters that mean something to Markdown are written as entities."""
    plain = _MARKUP.sub(lambda match: _entity(match[0]), one_line(text))
    return _NUMBERED.sub(lambda match: match[1] + _entity(match[2]), plain)


def _entity(character: str) -> str:
    return f"&#{ord(character)};"


def code(text: str) -> str:
    """A name as code; as escaped text where it has characters that could end code or a line."""
    return f"`{text}`" if re.fullmatch(r"[\w.+-]+", text) else escaped(text)


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\char34{}",
        "`": r"\textasciigrave{}",
        "±": r"$\pm$",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


def latex(text: str) -> str:
    """Text in a line of LaTeX: no character of it is a command, opens mathematics or ends a cell."""
    return one_line(text).translate(_LATEX).replace("--", "-{}-").replace("--", "-{}-")  # no dash
