"""JSON that is read as it was written, or not at all: strict, and with a digest of its own content.

A flipped bit can leave JSON that parses and says another number. So whatever is read again holds the sha256 of the
rest of it, over JSON with sorted keys: white space and the order of keys do not matter.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from ..core.json_types import Json

DIGEST = "row_sha256"
MOST_BYTES = 16 * 2**20  # of one object; a row of the table has some 6,000
_MOST_DIGITS = 20  # of a number of 64 bits, with its sign


def parse_object(text: str | bytes) -> Json:
    """A JSON object in UTF-8, without NaN, infinity, a whole number beyond 64 bits, or a key that comes twice.

    Raises:
        ValueError: it is none.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"longer than {MOST_BYTES >> 20} MiB")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_finite_number,
            parse_int=_whole_number,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {type(value).__name__}")
    return value


def with_digest(values: Json) -> Json:
    """An object with the digest of its content."""
    return values | {DIGEST: _digest(values)}


def without_digest(values: Json, *, required: bool = False) -> Json:
    """An object without its digest, which is checked where it has one: rows of older versions have none.

    Raises:
        ValueError: the content is not what was written.
    """
    rest = {name: value for name, value in values.items() if name != DIGEST}
    if (DIGEST in values or required) and values.get(DIGEST) != _digest(rest):
        raise ValueError("not what was written: its digest is another")
    return rest


def _digest(values: Json) -> str:
    try:
        return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError as error:
        raise ValueError("half of a surrogate pair") from error


def _object(pairs: list[tuple[str, Any]]) -> Json:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key comes twice")
    return values


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _whole_number(text: str) -> int:
    number = int(text) if len(text) <= _MOST_DIGITS else None
    if number is None or not -(2**63) <= number < 2**63:
        raise ValueError(f"{text[:_MOST_DIGITS]}... is beyond 64 bits")
    return number


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number
