"""What a user says about an adapter: a frozen dataclass per variant, checked when it is made."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar


class AdapterError(ValueError):
    """A mistake in how an adapter was asked for; the message says what was wrong and what to write."""


CONFIGS: dict[str, type[AdapterConfig]] = {}
ALIASES = {"antipasto_rot": "antipasto"}


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Fields common to every variant.

    Args:
        r: rank, at least 1; at most min(d_in, d_out) of every target, which `attach` checks. None, where a variant
            allows it: min(d_in, d_out) of each target.
        alpha: numerator of the scale alpha / r, for the variants that have one; None for r, a scale of 1.
        target_names: regexes; a layer is a target where one matches its whole dotted path, or the end of
            that path after a dot (`down_proj` matches `model.layers.0.mlp.down_proj`).
        layers: indices of the decoder blocks to adapt (the first number in a layer's path); None for all.
        exclude_names: regexes matched the same way, taken out of the targets.

    Raises:
        AdapterError: a field's value is impossible; the message names it and what was expected.
    """

    variant: ClassVar[str] = ""
    full_rank_allowed: ClassVar[bool] = False

    r: int | None = 32
    alpha: float | None = 64.0
    target_names: Sequence[str] = ("down_proj",)
    layers: Sequence[int] | None = None
    exclude_names: Sequence[str] = ("lm_head",)

    def __post_init__(self) -> None:
        for field in ("target_names", "layers", "exclude_names"):
            value = getattr(self, field)
            if isinstance(value, str | int):
                raise AdapterError(f"{field} must be a list, got {value!r}; write [{value!r}]")
            if value is not None:
                object.__setattr__(self, field, tuple(value))
        if self.r is None and not self.full_rank_allowed:
            raise AdapterError(f"{self.variant} needs a rank: r must be a whole number of at least 1")
        if self.r is not None and (not isinstance(self.r, int) or isinstance(self.r, bool) or self.r < 1):
            raise AdapterError(f"r must be a whole number of at least 1, got {self.r!r}")
        if self.alpha is not None and not math.isfinite(self.alpha):
            raise AdapterError(f"alpha must be a finite number, got {self.alpha}")
        if not self.target_names:
            raise AdapterError("target_names is empty; name at least one layer, such as 'down_proj'")
        for pattern in (*self.target_names, *self.exclude_names):
            try:
                re.compile(pattern)
            except re.error as error:
                raise AdapterError(f"{pattern!r} is not a valid regex: {error}") from error

    def rank(self, d_in: int, d_out: int) -> int:
        """The rank on one (d_out, d_in) target."""
        return min(d_in, d_out) if self.r is None else self.r

    @property
    def scale(self) -> float:
        """alpha / r."""
        if self.alpha is None:
            return 1.0
        assert self.r is not None, "a variant of full rank has no such scale"
        return self.alpha / self.r

    def inert(self) -> set[str]:
        """The fields that change nothing under the values of the others."""
        return set()

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold, with the variant's name under `variant`."""
        fields = dataclasses.asdict(self)
        return {"variant": self.variant} | {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> AdapterConfig:
        """The inverse of `to_dict`.

        Raises:
            AdapterError: the variant or a field is unknown; the message names the nearest known one.
        """
        values = dict(values)
        cls = CONFIGS[resolve(values.pop("variant", ""))]
        known = {field.name for field in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise AdapterError(f"{cls.variant} has no field {key!r}{did_you_mean(key, known)}")
        return cls(**values)


Config = TypeVar("Config", bound=type[AdapterConfig])


def register_config(cls: Config) -> Config:
    """Class decorator: make a config known under its `variant` name."""
    CONFIGS[cls.variant] = cls
    return cls


def resolve(variant: str) -> str:
    """A variant's own name from any name it is known by.

    Raises:
        AdapterError: no such variant; the message names the nearest known one.
    """
    name = ALIASES.get(variant, variant)
    if name not in CONFIGS:
        raise AdapterError(f"unknown variant {variant!r}{did_you_mean(variant, CONFIGS)}")
    return name


def did_you_mean(word: str, known: Any) -> str:
    """The tail of an error about an unknown word: its nearest known one, then all of them."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"{f'; did you mean {near[0]!r}?' if near else ''} (known: {', '.join(sorted(known))})"


def choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Check that a field holds one of the allowed words."""
    if value not in allowed:
        raise AdapterError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
