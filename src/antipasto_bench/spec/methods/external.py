"""Variants of other installed packages: entry points of the group `antipasto.variants`.

An entry point is a variant of the library (its module registers one, by `antipasto.register`), or a function
`attach(model, **settings)`, see docs/add-a-variant.md. Which there are is read from the metadata of packages; the code
of one is imported only by `load_variant`, for a name that a user typed or for a run that is made again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import antipasto
from antipasto.config import ALIASES, AdapterConfig

from ...core.errors import UserError, first_line
from ...core.json_types import Json
from .external_function import FunctionMethod
from .library import LibraryMethod
from .method import Method
from .package import PACKAGE
from .untuned import BASE
from .weights import WEIGHTS

GROUP = "antipasto.variants"
_NAME = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")
_TAKEN = {BASE, "default", "frozen_basis", *ALIASES, *WEIGHTS}  # in presets two of them name several variants

_loaded: dict[str, Method] = {}


@dataclass(frozen=True)
class Plugin:
    """An entry point, by its package's metadata alone."""

    name: str
    package: str  # name and version of the distribution
    entry: EntryPoint


class ExternalLibraryMethod(LibraryMethod):
    """A variant that another package registers with the library. Another version of it is another variant."""

    steps_alike = False

    def __init__(self, variant: str, package: str) -> None:
        super().__init__(variant)
        self.package = package

    def config(self, adapter: Mapping[str, Any]) -> AdapterConfig:
        return super().config({key: value for key, value in adapter.items() if key != PACKAGE})

    def fields(self) -> Mapping[str, Any]:
        return {**super().fields(), PACKAGE: Literal[self.package]}

    def canonical(self, values: Mapping[str, Any]) -> tuple[str, Json]:
        variant, settings = super().canonical(values)
        own = {PACKAGE: values.get(PACKAGE, self.package)} if variant == self.variant else {}
        return variant, settings | own


def plugins() -> list[Plugin]:
    """Every entry point that can be a variant, by name; no code of any is run."""
    return [found[0] for name, found in sorted(_found().items()) if _refusal(name, found) is None]


def refused() -> list[str]:
    """A line for each entry point that cannot be a variant, which says why."""
    return [refusal for name, found in sorted(_found().items()) if (refusal := _refusal(name, found)) is not None]


def is_external(variant: str) -> bool:
    """Whether another package has a variant of that name; no code of it is run."""
    return any(plugin.name == variant for plugin in plugins())


def loaded(variant: str) -> Method | None:
    """The method of a variant that `load_variant` has loaded."""
    return _loaded.get(variant)


def load_variants(variants: Iterable[str]) -> None:
    """`load_variant` of each."""
    for variant in variants:
        load_variant(variant)


def load_variant(variant: str) -> None:
    """Import the package of a variant that is neither this project's nor loaded; nothing of any other name.

    Raises:
        UserError: its package cannot be imported, or brings no variant of that name, or changes another.
    """
    if variant in _loaded or ":" in variant or _is_ours(variant) or (found := _found().get(variant)) is None:
        return
    if (refusal := _refusal(variant, found)) is not None:
        raise UserError(refusal)
    (plugin,) = found
    configs, registry = dict(antipasto.CONFIGS), dict(antipasto.REGISTRY)
    try:
        value = plugin.entry.load()
    except (Exception, SystemExit) as error:
        raise UserError(f"{variant}: {plugin.package} cannot be imported: {first_line(error)}") from error
    new = _registered(configs, registry)
    if replaced := [name for name in new if name in configs or name in registry or name in _TAKEN]:
        for name in new:
            antipasto.CONFIGS.pop(name, None)
            antipasto.REGISTRY.pop(name, None)
        antipasto.CONFIGS.update(configs)
        antipasto.REGISTRY.update(registry)
        raise UserError(f"{variant}: {plugin.package} replaces the variant {replaced[0]!r}, which is refused")
    if variant in new or (variant in antipasto.CONFIGS and variant in antipasto.REGISTRY):
        _loaded.update({name: ExternalLibraryMethod(name, plugin.package) for name in {*new, variant}})
    else:
        _loaded[variant] = FunctionMethod(variant, plugin.package, value)


def _registered(configs: Mapping[str, Any], registry: Mapping[str, Any]) -> list[str]:
    """The names of the library's variants that are others than they were."""
    pairs: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...] = (
        (antipasto.CONFIGS, configs),
        (antipasto.REGISTRY, registry),
    )
    return sorted({name for now, before in pairs for name in now if now[name] is not before.get(name)})


@cache
def _found() -> dict[str, list[Plugin]]:
    """All entry points of the group by name; one for each package that has it."""
    found: dict[str, dict[str, Plugin]] = {}
    for entry in entry_points(group=GROUP):
        if entry.dist is not None:
            package = f"{entry.dist.name} {entry.dist.version}"
            found.setdefault(entry.name, {}).setdefault(package, Plugin(entry.name, package, entry))
    return {name: list(by_package.values()) for name, by_package in found.items()}


def _refusal(name: str, found: list[Plugin]) -> str | None:
    packages = " and ".join(plugin.package for plugin in found)
    if _is_ours(name):
        return f"{packages}: the name {name!r} is taken; its variant is not used"
    if not _NAME.fullmatch(name):
        return f"{packages}: {name!r} is no name of a variant; write small letters, digits and single _ or -"
    if len(found) > 1:
        return f"{name!r} is a variant of {packages}; uninstall one of them"
    return None


def _is_ours(name: str) -> bool:
    config = antipasto.CONFIGS.get(name)
    return name in _TAKEN or (config is not None and config.__module__.partition(".")[0] == "antipasto")
