"""The settings of the variants outside the frozen-basis family; what each computes is in variants/<its name>.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ..config import AdapterConfig, AdapterError, register_config, require_choice

RoadVariant = Literal["road_1", "road_2", "road_4"]


@register_config
@dataclass(frozen=True, kw_only=True)
class LoRAConfig(AdapterConfig):
    variant: ClassVar[str] = "lora"
    factors: ClassVar[bool] = True


@register_config
@dataclass(frozen=True, kw_only=True)
class DoRAConfig(AdapterConfig):
    variant: ClassVar[str] = "dora"
    factors: ClassVar[bool] = True


@register_config
@dataclass(frozen=True, kw_only=True)
class PiSSAConfig(AdapterConfig):
    variant: ClassVar[str] = "pissa"
    factors: ClassVar[bool] = True

    def unused_fields(self) -> set[str]:
        return super().unused_fields() | {"alpha"}  # alpha = r: the scale is 1, and B A is a part of W


@register_config
@dataclass(frozen=True, kw_only=True)
class EVAConfig(AdapterConfig):
    variant: ClassVar[str] = "eva"
    factors: ClassVar[bool] = True

    def needs_data(self) -> bool:
        return True


@register_config
@dataclass(frozen=True, kw_only=True)
class DeLoRAConfig(AdapterConfig):
    """
    Args:
        lambda0: initial value of the trained length.
    """

    variant: ClassVar[str] = "delora"
    factors: ClassVar[bool] = True

    lambda0: float = 15.0

    def unused_fields(self) -> set[str]:
        return super().unused_fields() | {"alpha"}


@register_config
@dataclass(frozen=True, kw_only=True)
class HRAConfig(AdapterConfig):
    """`r` is the number of reflections, an even one: they start in pairs that cancel."""

    variant: ClassVar[str] = "hra"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r is not None and self.r % 2:
            raise AdapterError(f"r={self.r} is odd; reflections start in pairs that cancel, so r must be even")

    def unused_fields(self) -> set[str]:
        return super().unused_fields() | {"alpha"}


@register_config
@dataclass(frozen=True, kw_only=True)
class RoadConfig(AdapterConfig):
    """
    Args:
        road_variant: road_1, road_2 or road_4: how many of the angles and scales of a pair are trained separately.
        group_size: outputs that pair among themselves; even, and a divisor of every target's d_out.
    """

    variant: ClassVar[str] = "road"

    road_variant: RoadVariant = "road_1"
    group_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("road_variant", self.road_variant, get_args(RoadVariant))
        if self.group_size < 2 or self.group_size % 2:
            raise AdapterError(f"group_size must be even and at least 2, got {self.group_size}")

    def unused_fields(self) -> set[str]:
        return super().unused_fields() | {"r", "alpha"}


@register_config
@dataclass(frozen=True, kw_only=True)
class IA3Config(AdapterConfig):
    variant: ClassVar[str] = "ia3"

    target_names: Sequence[str] = ("k_proj", "v_proj")

    def unused_fields(self) -> set[str]:
        return super().unused_fields() | {"r", "alpha"}


@register_config
@dataclass(frozen=True, kw_only=True)
class IA3FFConfig(AdapterConfig):
    variant: ClassVar[str] = "ia3_ff"

    def unused_fields(self) -> set[str]:
        return super().unused_fields() | {"r", "alpha"}


@register_config
@dataclass(frozen=True, kw_only=True)
class SSpaceConfig(AdapterConfig):
    """`alpha` is how far to push; `r` None takes every singular direction of each target."""

    variant: ClassVar[str] = "sspace"
    full_rank_allowed: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    r: int | None = None
    alpha: float | None = 1.0
    target_names: Sequence[str] = ("down_proj", "o_proj")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is None:
            raise AdapterError("sspace needs an alpha: how far to push, such as 1")

    def needs_data(self) -> bool:
        return True
