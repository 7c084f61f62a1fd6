"""The type of what is written and read as JSON."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]  # an object; its values are what json.loads gives
