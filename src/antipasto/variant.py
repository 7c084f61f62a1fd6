"""What a variant is: the tensors it puts on a layer, and the layer's new output."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from .config import AdapterConfig, AdapterError
from .layer import Layer as Layer  # what a variant's file needs is imported from here
from .layer import bias_of as bias_of
from .layer import lora_parameters

Init = Callable[[Tensor, Generator], Tensor]
ConfigT = TypeVar("ConfigT", bound=AdapterConfig)


def add_low_rank(
    y: Float[Tensor, "*batch d_out"], h: Float[Tensor, "*batch k"], B: Float[Tensor, "d_out k"], scale: float = 1.0
) -> Float[Tensor, "*batch d_out"]:
    """y + scale * h B^T as one operation; y itself is not changed."""
    rows = y.reshape(-1, y.shape[-1]), h.reshape(-1, h.shape[-1])
    return torch.addmm(*rows, B.to(y.dtype).T, alpha=scale).view(y.shape)


def constant(value: float) -> Init:
    return lambda tensor, generator: tensor.fill_(value)


def zeros(tensor: Tensor, generator: Generator) -> Tensor:
    return tensor.zero_()


def normal(mean: float, std: float) -> Init:
    return lambda tensor, generator: tensor.normal_(mean, std, generator=generator)


def kaiming(tensor: Tensor, generator: Generator) -> Tensor:
    """nn.Linear's own initialisation, kaiming-uniform with a = sqrt(5)."""
    return nn.init.kaiming_uniform_(tensor, a=math.sqrt(5), generator=generator)


@dataclass(frozen=True)
class ParamSpec:
    """One tensor that a variant adds to a layer.

    Args:
        shape: its shape.
        init: fills it in place, drawing from the generator it is given. Frozen tensors are usually filled
            by `Variant.init` instead.
        trained: a parameter, in float32 whatever the base is, or in bfloat16 where `attach` is told so: compute with it
            in the dtype of a wider tensor; otherwise a frozen buffer in the base's dtype, in float32 where that is
            float16.
        full_precision: keep a frozen buffer in at least float32.
    """

    shape: tuple[int, ...]
    init: Init = zeros
    trained: bool = True
    full_precision: bool = False

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


class Factors(NamedTuple):
    """A thin matrix B A."""

    A: Float[Tensor, "k d_in"]
    B: Float[Tensor, "d_out k"]


class Calibrator(Protocol):
    """What a layer gathers while calibration batches flow through it."""

    tokens: int  # how many were added

    def update(self, x: Float[Tensor, "tokens d_in"]) -> None:
        """Add the inputs of some (non-padding) tokens to the running moments."""


class Variant(ABC, Generic[ConfigT]):
    """Base of every adapter: stateless; all tensors live on the layer, all settings in its config, a ConfigT.

    A variant is its `param_specs` (what it adds), its `forward` (its equation) and the same equation folded into
    the weight: `factors` where the change of W is a product of two thin matrices, else `merged_weight`.
    """

    config: ClassVar[type[AdapterConfig]]
    mergeable: ClassVar[bool] = True
    contrastive: ClassVar[bool] = False  # whether its calibration data are a Contrast of two sides
    quantised: ClassVar[bool] = True  # whether the base may be quantised; False where another weight replaces W

    def calibrator(self, cfg: ConfigT) -> Callable[[Float[Tensor, "d_out d_in"]], Calibrator] | None:
        """The function that makes a layer's calibrator from its weight; None where `cfg.needs_data()` is False."""
        return None

    def check(self, d_in: int, d_out: int, cfg: ConfigT) -> None:
        """Raise AdapterError where this config is impossible on a (d_out, d_in) layer."""
        if "r" not in cfg.unused_fields() and cfg.rank(d_in, d_out) > min(d_in, d_out):
            raise AdapterError(f"r={cfg.r} is above min(d_in, d_out)={min(d_in, d_out)}; lower the rank")

    @abstractmethod
    def param_specs(self, d_in: int, d_out: int, cfg: ConfigT) -> dict[str, ParamSpec]:
        """The tensors to add to a (d_out, d_in) layer, by name; each name begins with `lora_`."""

    def tokens_needed(self, d_in: int, d_out: int, cfg: ConfigT) -> int:
        """The fewest calibration tokens that a (d_out, d_in) layer needs."""
        return cfg.rank(d_in, d_out)

    def init(self, layer: Layer, cfg: ConfigT, W: Float[Tensor, "d_out d_in"], gathered: Any) -> None:
        """Fill the tensors from the layer's weight W and from its calibrator.

        Args:
            W: the weight in its own dtype; of a quantised layer, dequantised.
            gathered: the layer's calibrator after the calibration data; for a Contrast, the two calibrators of its
                sides; None where the config needs no data.
        """

    def extracted_factors(self, layer: Layer, cfg: ConfigT) -> Factors | None:
        """Called right after `init`: the part of W that moves out of the layer's weight into trained tensors."""
        return None

    def tensors_to_save(self, layer: Layer, cfg: ConfigT) -> dict[str, Tensor]:
        """The tensors of a layer that a file must hold to rebuild it on the same base model."""
        return {name: p.detach() for name, p in lora_parameters(layer).items()}

    def required_names(self, layer: Layer, cfg: ConfigT) -> set[str]:
        """The names of the tensors without which a file cannot rebuild the layer."""
        return set(self.tensors_to_save(layer, cfg))

    def restore(self, layer: Layer, cfg: ConfigT, tensors: dict[str, Tensor]) -> None:
        """Put the tensors of a file back on a layer; `init` has run before, unless this config needs data."""
        with torch.no_grad():
            for name, tensor in tensors.items():
                getattr(layer, name).copy_(tensor)

    @abstractmethod
    def forward(
        self, layer: Layer, cfg: ConfigT, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        """The adapted output, from the layer's input x and its own output y."""

    def factors(self, layer: Layer, cfg: ConfigT, dtype: torch.dtype) -> Factors | None:
        """What the adapter adds to the layer's weight, as a thin product in `dtype`; None where it is no product."""
        return None

    def merged_weight(self, layer: Layer, cfg: ConfigT, W: Float[Tensor, "d_out d_in"]) -> Float[Tensor, "d_out d_in"]:
        """The weight with which the plain layer computes `forward`. W is the layer's own, in at least float32."""
        thin = self.factors(layer, cfg, W.dtype)
        if thin is None:
            raise AdapterError(f"{cfg.variant} is not a change of the weight and cannot be merged")
        return W + thin.B @ thin.A

    def merged_bias(self, layer: Layer, cfg: ConfigT, b: Float[Tensor, " d_out"]) -> Float[Tensor, " d_out"]:
        """The bias that goes with `merged_weight`."""
        return b

    @abstractmethod
    def added_macs(self, d_in: int, d_out: int, cfg: ConfigT) -> int:
        """Multiply-accumulates of matrix products that each further token adds to those of the base layer."""


class InputVariant(Variant[ConfigT]):
    """An adapter that acts before the layer: it turns x into another x, and leaves y alone."""

    @abstractmethod
    def adapt_input(self, layer: Layer, cfg: ConfigT, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """What the layer is given in place of x."""

    def forward(self, layer: Layer, cfg: ConfigT, x: Tensor, y: Tensor) -> Tensor:
        return y


REGISTRY: dict[str, Variant[Any]] = {}
V = TypeVar("V", bound=type[Variant[Any]])


def register(cls: V) -> V:
    """Class decorator: make a variant known under its config's `variant` name."""
    REGISTRY[cls.config.variant] = cls()
    return cls


def count_parameters(cfg: AdapterConfig, d_in: int, d_out: int) -> int:
    """Trained parameters on one (d_out, d_in) target, from shapes alone."""
    specs = REGISTRY[cfg.variant].param_specs(d_in, d_out, cfg)
    return sum(spec.numel for spec in specs.values() if spec.trained)


def require_agreement(variant: Variant[Any], cfg: AdapterConfig, specs: Mapping[str, ParamSpec]) -> None:
    """Raise AdapterError where a config, which is read without torch, says another thing than its variant does."""
    if (variant.calibrator(cfg) is not None) != cfg.needs_data():
        does = "has no calibrator" if cfg.needs_data() else "has a calibrator"
        raise AdapterError(f"{cfg.variant} {does}, and needs_data of its config says {cfg.needs_data()}; change one")
    factors = all(name in specs and specs[name].trained for name in ("lora_A", "lora_B"))
    if factors != cfg.factors:
        does = "trains lora_A and lora_B" if factors else "does not train both lora_A and lora_B"
        raise AdapterError(f"{cfg.variant} {does}: write `factors: ClassVar[bool] = {factors}` in its config")


def added_macs(cfg: AdapterConfig, d_in: int, d_out: int) -> int:
    """Added multiply-accumulates per token on one (d_out, d_in) target, from shapes alone."""
    return REGISTRY[cfg.variant].added_macs(d_in, d_out, cfg)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 for float64: the dtype for sums and for differences of nearly equal numbers."""
    return torch.promote_types(dtype, torch.float32)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of an adapter's products at activations of a dtype: that one, but float32 for float16.

    float16 ends at 65504. Products inside an adapter pass that although what they add up to does not.
    """
    return torch.float32 if dtype == torch.float16 else dtype


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in its accumulation dtype: float64 stays, every other dtype becomes float32."""
    return tensor.to(accumulation_dtype(tensor.dtype))
