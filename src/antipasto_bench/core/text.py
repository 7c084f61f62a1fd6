"""Text of other people's, such as a model's answers or the names in a row, as plain characters."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # scripts and emoji need them
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (bidirectional ones among them), lone surrogates, breaks


def printable(text: str, keep: str = "\n\t") -> str:
    r"""A text whose control characters are written out, such as `\x1b`: none reaches a terminal, an SVG or a page.

    Args:
        keep: control characters that stay.
    """
    rest = text
    for character in keep:
        rest = rest.replace(character, "")
    if rest.isprintable():  # most are; what this says is printable is no control character either
        return text
    return "".join(c if c in keep or not _is_control(c) else _written_out(c) for c in text)


def one_line(text: str) -> str:
    """A text in one line: line breaks and other white space are single spaces, control characters are written out."""
    return printable(" ".join(text.split()), keep="")


def _is_control(character: str) -> bool:
    if character in _JOINERS:
        return False
    # U+FFFE and U+FFFF of each plane are no characters, and XML has no place for them.
    return unicodedata.category(character) in _INVISIBLE or ord(character) & 0xFFFE == 0xFFFE


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
