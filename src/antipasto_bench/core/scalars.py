"""What an unquoted value means, typed as a word or written in a YAML file: the core schema of YAML 1.2, and less.

PyYAML follows YAML 1.1, where 010 is 8, 12:30 is 750, `no` is false and 1e-3 is text. Here a whole number is decimal
digits, true and false are the only truth values, and what another rule reads as another number is refused.
https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_LEADING_ZEROS = re.compile(r"[-+]?0[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OTHER_BASES = re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+")
_UNDERSCORES = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9_]+)?")
_MOST_DIGITS = 18  # of a whole number: it fits 64 bits


def read_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar; text where no other rule holds.

    Raises:
        ValueError: it reads as different numbers by different rules, or is too large; the message says what to write.
    """
    if text in NULLS:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if _WHOLE.fullmatch(text):
        if len(text.lstrip("+-")) > _MOST_DIGITS:
            raise ValueError(f"a whole number has at most {_MOST_DIGITS} digits")
        return int(text)
    if _LEADING_ZEROS.fullmatch(text):
        sign, digits = ("-" if text[0] == "-" else ""), text.lstrip("+-").lstrip("0") or "0"
        raise ValueError(f"a whole number has no leading zeros; write {sign}{digits[:40]}, or quote it if it is text")
    if _OTHER_BASES.fullmatch(text) or _UNDERSCORES.fullmatch(text):
        raise ValueError("a number is written in decimal digits alone, such as 1000 or 1e-3; quote it if it is text")
    if _FLOAT.fullmatch(text):
        value = float(text) + 0.0  # -0.0 is 0.0, or one run would have two ids
        if value in (float("inf"), float("-inf")):
            raise ValueError("the number is too large")
        return value
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text
