"""The untuned model: a row like any other, without an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.json_types import Json
from .method import Method, Rank

BASE = "base"


class Untuned(Method):
    variant = BASE
    tuned = False
    trains = False

    def fields(self) -> Mapping[str, Any]:
        return {}

    def canonical(self, values: Mapping[str, Any]) -> tuple[str, Json]:
        return BASE, {}

    def calibrates(self, adapter: Mapping[str, Any]) -> bool:
        return False

    def rank(self, adapter: Mapping[str, Any]) -> Rank:
        return None
