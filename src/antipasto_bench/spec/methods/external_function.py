"""A variant that another package gives as a function `attach(model, **settings)`: its settings, read off the function.

    def attach(model, *, generator, rank: int = 4, scale: float = 2.0) -> dict[str, nn.Parameter]

Every argument but the model and `generator` is a setting, with its annotation as type and its default as default.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType, UnionType
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

import antipasto

from ...core.errors import UserError, first_line
from ...core.json_types import Json
from .method import Method, Rank
from .package import PACKAGE

GENERATOR = "generator"  # the argument that is given a torch.Generator, if there is one
# The names that a user types for settings which an adapter's config names another way, as in `config.ADAPTER_WORDS`.
WORDS = {"rank": "r", "targets": "target_names", "exclude": "exclude_names"}
_STRICT = ConfigDict(allow_inf_nan=False, strict=True)


@dataclass(frozen=True)
class _Setting:
    argument: str
    type: Any
    default: Any


class FunctionMethod(Method):
    """A function of another package that changes a model."""

    needs_whole_model = True
    adds_parameters = False  # or they are its own: it chooses their dtype itself

    def __init__(self, variant: str, package: str, value: Any) -> None:
        """
        Args:
            value: the function, with `detach` and `merge` as attributes if it has them; or a module or class that has
                all of them.

        Raises:
            UserError: it is none of them, or an argument has no default, or no type that a setting can have.
        """
        self.variant, self.package = variant, package
        attach = getattr(value, "attach", None) if isinstance(value, ModuleType | type) else value
        if not callable(attach):
            raise UserError(f"{variant}: {package} gives neither a variant of the library nor a function attach(model)")
        self.attach: Callable[..., Any] = attach
        self.detach: Callable[[Any], Any] | None = getattr(value, "detach", None)
        self.merge: Callable[[Any], Any] | None = getattr(value, "merge", None)
        self._doc = inspect.getdoc(attach) or inspect.getdoc(inspect.getmodule(attach)) or ""
        try:
            self.takes_generator, self._settings = _settings(attach)
        except (ValueError, TypeError, NameError) as error:
            raise UserError(f"{variant}: {package}: {first_line(error)}") from error

    @property
    def mergeable(self) -> bool:  # type: ignore[override]
        return self.merge is not None

    def fields(self) -> Mapping[str, Any]:
        own = {name: setting.type for name, setting in self._settings.items()}
        return {**own, PACKAGE: Literal[self.package]}

    def given(self, flat: Mapping[str, Any]) -> Json:
        values = super().given(flat)
        for name, value in values.items():
            kind = typing.get_origin(self.fields()[name])
            if kind in (list, tuple) and value is not None:
                values[name] = kind(value if isinstance(value, list | tuple) else [value])
        return values

    def canonical(self, values: Mapping[str, Any]) -> tuple[str, Json]:
        settings: Json = {}
        for name, setting in self._settings.items():
            value = TypeAdapter(setting.type).validate_python(values.get(name, setting.default))
            settings[name] = TypeAdapter(setting.type).dump_python(value, mode="json")
        return self.variant, settings | {PACKAGE: values.get(PACKAGE, self.package)}

    def arguments(self, adapter: Mapping[str, Any]) -> Json:
        """The function's arguments for canonical settings.

        Raises:
            UserError: they are of another version of the package, whose settings are others.
        """
        try:
            return {
                setting.argument: TypeAdapter(setting.type).validate_python(adapter[name])
                for name, setting in self._settings.items()
            }
        except (KeyError, ValidationError) as error:
            raise UserError(f"{self.variant}: these are no settings of {self.package}: {first_line(error)}") from error

    def calibrates(self, adapter: Mapping[str, Any]) -> bool:
        return False

    def rank(self, adapter: Mapping[str, Any]) -> Rank:
        rank = adapter.get("r")
        return rank if isinstance(rank, int) and not isinstance(rank, bool) else None

    def describe(self) -> antipasto.Description:
        return antipasto.Description(
            variant=self.variant,
            summary=self._doc.partition("\n")[0].rpartition(": ")[2].rstrip("."),
            equation=inspect.cleandoc("\n".join(line for line in self._doc.splitlines() if line.startswith("    "))),
            source=f"{self.package}, an installed package",
            identity="",
            parameters="",
            data="none",
            quantised=True,
            merges=self.mergeable,
        )


def _settings(attach: Callable[..., Any]) -> tuple[bool, dict[str, _Setting]]:
    """Whether a function takes a generator, and its settings by the names that a config has."""
    _, *others = inspect.signature(attach).parameters.values()
    hints = typing.get_type_hints(attach, include_extras=True)
    settings: dict[str, _Setting] = {}
    for argument in others:
        if argument.name == GENERATOR:
            continue
        if argument.kind in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL, argument.POSITIONAL_ONLY):
            raise ValueError(f"{attach.__name__}: each setting needs a name, and *{argument.name} has none")
        if argument.default is argument.empty:
            raise ValueError(f"{attach.__name__}: {argument.name} has no default")
        if argument.name == PACKAGE:
            raise ValueError(f"{attach.__name__}: {PACKAGE} is the package's name and version; name it otherwise")
        if argument.name not in hints and argument.default is None:
            raise ValueError(f"{attach.__name__}: {argument.name}=None says no type; annotate it")
        kind = hints.get(argument.name, type(argument.default))
        if not _is_plain(kind):
            raise TypeError(f"{attach.__name__}: {argument.name} is of a type that no setting can have: {kind}")
        default = TypeAdapter(kind, config=_STRICT).validate_python(argument.default)
        settings[WORDS.get(argument.name, argument.name)] = _Setting(argument.name, kind, default)
    return any(argument.name == GENERATOR for argument in others), settings


def _is_plain(kind: Any) -> bool:
    """Whether a type is one of those that a user can type a value of: numbers, texts, choices, and lists of them."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _is_plain(inner[0])
    if origin is Literal:
        return True
    if origin in (list, tuple, Sequence, typing.Union, UnionType):
        return all(each is Ellipsis or _is_plain(each) for each in inner)
    return kind in (bool, int, float, str, type(None))
