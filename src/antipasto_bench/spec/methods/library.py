"""The adapters of the library, each a config class of its own."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import antipasto
from antipasto.config import AdapterConfig

from ...core.json_types import Json
from .method import Method, Rank


@cache  # of some twenty classes, asked for at each key of each file
def _fields(cls: type[AdapterConfig]) -> Mapping[str, Any]:
    hints = typing.get_type_hints(cls)
    return MappingProxyType({field.name: hints[field.name] for field in dataclasses.fields(cls)})


class LibraryMethod(Method):
    """A variant of `antipasto.CONFIGS`."""

    steps_alike = True

    def __init__(self, variant: str) -> None:
        self.variant = variant

    @property
    def trains(self) -> bool:  # type: ignore[override]
        return antipasto.CONFIGS[self.variant].trains

    @property
    def factors(self) -> bool:  # type: ignore[override]
        return antipasto.CONFIGS[self.variant].factors

    @property
    def mergeable(self) -> bool:  # type: ignore[override]
        return antipasto.REGISTRY[self.variant].mergeable

    @property
    def frozen_basis(self) -> bool:  # type: ignore[override]
        return issubclass(antipasto.CONFIGS[self.variant], antipasto.FrozenBasisConfig)

    def config(self, adapter: Mapping[str, Any]) -> AdapterConfig:
        """The library's own form of some settings.

        Raises:
            AdapterError: a value is impossible, or there is no such field.
        """
        return AdapterConfig.from_dict({"variant": self.variant} | dict(adapter))

    def fields(self) -> Mapping[str, Any]:
        return _fields(antipasto.CONFIGS[self.variant])

    def given(self, flat: Mapping[str, Any]) -> Json:
        values = super().given(flat)
        if values.get("r") == "full" and antipasto.CONFIGS[self.variant].full_rank_allowed:
            values["r"] = None
        for name in ("target_names", "exclude_names", "layers"):
            if name in values and not isinstance(values[name], list | tuple | None):
                values[name] = [values[name]]
        return values

    def canonical(self, values: Mapping[str, Any]) -> tuple[str, Json]:
        # One computation, one spelling: an unused setting collapses, as an axis does that the variant lacks.
        settings = self.config(values).canonical().to_dict()
        return settings.pop("variant"), settings

    def calibrates(self, adapter: Mapping[str, Any]) -> bool:
        return self.config(adapter).needs_data()

    def rank(self, adapter: Mapping[str, Any]) -> Rank:
        return None if "r" in self.config(adapter).unused_fields() else adapter["r"] or "full"

    def describe(self) -> antipasto.Description:
        return antipasto.describe(self.variant)

    def counts(self, adapter: Mapping[str, Any], d_in: int, d_out: int) -> tuple[int, int] | str:
        cfg = self.config(adapter)
        antipasto.REGISTRY[self.variant].check(d_in, d_out, cfg)
        return antipasto.count_parameters(cfg, d_in, d_out), antipasto.added_macs(cfg, d_in, d_out)

    def unused(self, adapter: Mapping[str, Any]) -> set[str]:
        return self.config(adapter).unused_fields()
