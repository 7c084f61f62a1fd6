"""Files that appear whole or not at all, see `antipasto.files`; here with the forms that the harness writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from antipasto.files import atomically as atomically  # one way to write and to read, for the library and the harness
from antipasto.files import folder_atomically as folder_atomically
from antipasto.files import move_folder as move_folder
from antipasto.files import read_regular as read_regular
from antipasto.files import require_regular as require_regular


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, keys sorted; NaN and infinity are no JSON.

    Raises:
        ValueError: the value holds a number that is not finite.
    """
    with atomically(path) as partial:
        partial.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    with atomically(path) as partial:
        partial.write_bytes(content)
