"""The settings of the frozen-basis family; what each member computes is in variants/<its name>.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ..config import AdapterConfig, AdapterError, register_config, require_choice

BasisName = Literal["svd", "wanda", "asvd", "corda"]
ActPool = Literal["rms", "mean_abs"]
RotateBasis = Literal["V", "U", "both", "none"]

DEDICATED = {"asvd": "antipasto_asvd", "corda": "antipasto_corda"}  # the variant that is antipasto_gain on a basis
PROJECTIONS = (
    "q_proj k_proj v_proj o_proj in_proj_qkv in_proj_z in_proj_a in_proj_b out_proj up_proj gate_proj down_proj".split()
)


@dataclass(frozen=True, kw_only=True)
class FrozenBasisConfig(AdapterConfig):
    """Fields common to the family.

    Args:
        basis: how the frozen directions are chosen: `svd`; or `wanda`, `asvd` or `corda`, which need calibration
            data.
        act_pool: how wanda pools |x . v_i| over tokens: `rms`, or `mean_abs`, which is the default of `antipasto`.
        cov_eps: what asvd and corda add to each second moment; in units of the inputs squared.
    """

    r: int | None = 256
    basis: BasisName = "svd"
    act_pool: ActPool = "rms"
    cov_eps: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("basis", self.basis, get_args(BasisName))
        require_choice("act_pool", self.act_pool, get_args(ActPool))
        if not 0 < self.cov_eps < float("inf"):
            raise AdapterError(
                f"cov_eps must be above 0, got {self.cov_eps}; without it an unused channel divides by 0"
            )

    def needs_data(self) -> bool:
        return self.basis != "svd"

    def unused_fields(self) -> set[str]:
        unused = super().unused_fields() | {"alpha"}
        if self.basis != "wanda":
            unused |= {"act_pool"}
        if self.basis not in ("asvd", "corda"):
            unused |= {"cov_eps"}
        return unused


@register_config
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOConfig(FrozenBasisConfig):
    """
    Args:
        block_size: number of directions in one block; r must be a multiple of it.
        max_rotation_angle: bound on the angle of a rotation, in radians.
        rotate_basis: V (input side), U (output side), both or none.
    """

    variant: ClassVar[str] = "antipasto"

    act_pool: ActPool = "mean_abs"  # as published for this core; the family's others pool by rms
    block_size: int = 4
    max_rotation_angle: float = 0.5
    rotate_basis: RotateBasis = "V"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("rotate_basis", self.rotate_basis, get_args(RotateBasis))
        if not 0 < self.max_rotation_angle < 3.14:
            raise AdapterError(f"max_rotation_angle must lie in (0, 3.14) radians, got {self.max_rotation_angle}")
        if self.block_size < 2:
            raise AdapterError(
                f"block_size must be at least 2, got {self.block_size}; for no rotation: rotate_basis=none"
            )
        if self.rotate_basis != "none" and self.r is not None and self.r % self.block_size:
            raise AdapterError(f"r={self.r} is not a multiple of block_size={self.block_size}")

    def unused_fields(self) -> set[str]:
        rotation = {"block_size", "max_rotation_angle"}
        return super().unused_fields() | (rotation if self.rotate_basis == "none" else set())


@register_config
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOGainConfig(FrozenBasisConfig):
    """
    Args:
        coeff: multiplies g; `set_coeff` changes it on an attached adapter.
        suppress_only: compute with min(g, 0), so that a direction can only be turned down. Once an optimizer step
            has made a g positive, its gradient is 0 and it stays where it is.
    """

    variant: ClassVar[str] = "antipasto_gain"

    coeff: float = 1.0
    suppress_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.coeff):
            raise AdapterError(f"coeff must be a finite number, got {self.coeff}")

    def dedicated_variant(self) -> str:
        if self.variant not in ("antipasto_gain", *DEDICATED.values()):
            return self.variant  # another core, with the fields of this one
        return DEDICATED.get(self.basis, "antipasto_gain")


@register_config
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOASVDConfig(AntiPaSTOGainConfig):
    variant: ClassVar[str] = "antipasto_asvd"

    basis: BasisName = "asvd"


@register_config
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOCorDAConfig(AntiPaSTOGainConfig):
    variant: ClassVar[str] = "antipasto_corda"

    basis: BasisName = "corda"


@register_config
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOArrowConfig(AntiPaSTOGainConfig):
    """
    Args:
        block: number of leading directions with a dense block; below r.
    """

    variant: ClassVar[str] = "antipasto_arrow"

    block: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block < 1 or (self.r is not None and self.block >= self.r):
            raise AdapterError(f"block must lie between 1 and r - 1, got block={self.block} with r={self.r}")


@register_config
@dataclass(frozen=True, kw_only=True)
class AntiPaSTODPLRConfig(AntiPaSTOGainConfig):
    """
    Args:
        lora_rank: k, the rank of B A, at most r.
    """

    variant: ClassVar[str] = "antipasto_dplr"
    factors: ClassVar[bool] = True

    lora_rank: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora_rank < 1 or (self.r is not None and self.lora_rank > self.r):
            raise AdapterError(f"lora_rank must lie between 1 and r={self.r}, got {self.lora_rank}")


@register_config
@dataclass(frozen=True, kw_only=True)
class AntiPaSTOAblateConfig(FrozenBasisConfig):
    """
    Args:
        k: number of directions to take out, at most r.
        init_alpha: share of each direction that is taken out at the start, in [0, 1].
        coeff: scales alpha, in [0, 1]; `set_coeff` changes it on an attached adapter.
        allow_amplify: allow a negative coeff, which amplifies the directions. It computes nothing by itself, but it is
            no unused field: it says what `set_coeff` accepts after training.
        cov_orient: another way to write basis=corda.
    """

    variant: ClassVar[str] = "antipasto_ablate"

    k: int = 1
    init_alpha: float = 0.05
    coeff: float = 1.0
    allow_amplify: bool = False
    cov_orient: bool = False

    def __post_init__(self) -> None:
        if self.cov_orient and self.basis == "svd":
            object.__setattr__(self, "basis", "corda")
        super().__post_init__()
        if self.cov_orient and self.basis != "corda":
            raise AdapterError(f"cov_orient=True means basis=corda, got basis={self.basis!r}; give one of them")
        if not isinstance(self.k, int) or self.k < 1 or (self.r is not None and self.k > self.r):
            raise AdapterError(f"k must lie between 1 and r={self.r}, got {self.k}")
        if not 0 <= self.init_alpha <= 1:
            raise AdapterError(f"init_alpha must lie in [0, 1], got {self.init_alpha}")
        if not math.isfinite(self.coeff) or self.coeff > 1 or self.coeff < (-math.inf if self.allow_amplify else 0):
            hint = "; a negative one needs allow_amplify=True" if self.coeff < 0 else ""
            raise AdapterError(f"coeff must lie in [0, 1] for antipasto_ablate, got {self.coeff}{hint}")

    def unused_fields(self) -> set[str]:
        return super().unused_fields() | {"cov_orient"}  # basis says the same


@register_config
@dataclass(frozen=True, kw_only=True)
class DeltaSConfig(FrozenBasisConfig):
    """`r` None takes every singular direction of each target."""

    variant: ClassVar[str] = "delta_s"
    full_rank_allowed: ClassVar[bool] = True

    r: int | None = None
    target_names: Sequence[str] = tuple(PROJECTIONS)


@register_config
@dataclass(frozen=True, kw_only=True)
class LoRAXSConfig(FrozenBasisConfig):
    variant: ClassVar[str] = "lora_xs"

    r: int | None = 32
    alpha: float | None = None

    def unused_fields(self) -> set[str]:
        return super().unused_fields() - {"alpha"}
