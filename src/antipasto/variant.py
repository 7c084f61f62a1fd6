"""What a variant is: the tensors it puts on a layer, and the layer's new output."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from .config import AdapterConfig, AdapterError

# A target: an nn.Linear, or a layer that acts like one, with this variant's `lora_*` tensors on it.
Layer = Any
Init = Callable[[Tensor, Generator], Any]


def plus(
    y: Float[Tensor, "*batch d_out"], h: Float[Tensor, "*batch k"], B: Float[Tensor, "d_out k"], scale: float = 1.0
) -> Float[Tensor, "*batch d_out"]:
    """y + scale * h B^T, in one pass over y, which is left as it is."""
    rows = y.reshape(-1, y.shape[-1]), h.reshape(-1, h.shape[-1])
    return torch.addmm(*rows, B.to(y.dtype).T, alpha=scale).view(y.shape)


def bias_of(layer: Layer) -> Tensor | None:
    """A target's bias, if it has one."""
    return getattr(layer, "bias", None)


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
        trained: a parameter, float32 whatever the base is; otherwise a frozen buffer in the base's dtype.
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


class Variant(ABC):
    """Base of every adapter: stateless; all tensors live on the layer, all settings in the config.

    A variant is its `param_specs` (what it adds), its `forward` (its equation) and the same equation folded into
    the weight: `factors` where the change of W is a product of two thin matrices, else `merged_weight`.
    """

    config: ClassVar[type[AdapterConfig]]
    mergeable: ClassVar[bool] = True
    contrastive: ClassVar[bool] = False  # whether its data are a Contrast of two sides
    trains: ClassVar[bool] = True  # False where all is found from data and nothing is left to train
    quantised: ClassVar[bool] = True  # whether the base may be quantised: no, where W itself is written

    def calibrator(self, cfg: Any) -> Callable[[Float[Tensor, "d_out d_in"]], Calibrator] | None:
        """What makes a layer's calibrator, from its weight; None where this config looks at no data."""
        return None

    def needs_data(self, cfg: Any) -> bool:
        """Whether `attach` must be given calibration data."""
        return self.calibrator(cfg) is not None

    def check(self, d_in: int, d_out: int, cfg: Any) -> None:
        """Raise AdapterError where this config is impossible on a (d_out, d_in) layer."""
        if "r" not in cfg.inert() and cfg.rank(d_in, d_out) > min(d_in, d_out):
            raise AdapterError(f"r={cfg.r} is above min(d_in, d_out)={min(d_in, d_out)}; lower the rank")

    @abstractmethod
    def param_specs(self, d_in: int, d_out: int, cfg: Any) -> dict[str, ParamSpec]:
        """The tensors to add to a (d_out, d_in) layer, by name; each name begins with `lora_`."""

    def tokens_needed(self, d_in: int, d_out: int, cfg: Any) -> int:
        """The fewest calibration tokens that a (d_out, d_in) layer can choose by."""
        return cfg.rank(d_in, d_out)

    def init(self, layer: Layer, cfg: Any, W: Float[Tensor, "d_out d_in"], gathered: Any) -> None:  # noqa: B027
        """Fill tensors from the layer's weight W (in its own dtype; dequantised) and from what was gathered."""

    def displaced(self, layer: Layer, cfg: Any) -> Factors | None:
        """Right after `init`: the part of W that the adapter takes out of the layer and trains itself."""
        return None

    def saved(self, layer: Layer, cfg: Any) -> dict[str, Tensor]:
        """The tensors of a layer that a file must hold to rebuild it beside the same base model."""
        return {name: p.detach() for name, p in layer.named_parameters(recurse=False) if name.startswith("lora_")}

    def needed(self, layer: Layer, cfg: Any) -> set[str]:
        """The names without which a file cannot rebuild the layer."""
        return set(self.saved(layer, cfg))

    def restore(self, layer: Layer, cfg: Any, tensors: dict[str, Tensor]) -> None:
        """The inverse of `saved`, on a layer that was initialised (unless its variant needs data)."""
        with torch.no_grad():
            for name, tensor in tensors.items():
                getattr(layer, name).copy_(tensor)

    @abstractmethod
    def forward(
        self, layer: Layer, cfg: Any, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        """The adapted output, from the layer's input x and its own output y."""

    def factors(self, layer: Layer, cfg: Any, dtype: torch.dtype) -> Factors | None:
        """The adapter's term of the weight as a thin product, computed in `dtype`; None where it is none."""
        return None

    def merged_weight(self, layer: Layer, cfg: Any, W: Float[Tensor, "d_out d_in"]) -> Float[Tensor, "d_out d_in"]:
        """The weight that makes the plain layer compute `forward`, from the layer's own in at least float32."""
        thin = self.factors(layer, cfg, W.dtype)
        if thin is None:
            raise AdapterError(f"{cfg.variant} is not a change of the weight and cannot be merged")
        return W + thin.B @ thin.A

    def merged_bias(self, layer: Layer, cfg: Any, b: Float[Tensor, " d_out"]) -> Float[Tensor, " d_out"]:
        """The bias that goes with `merged_weight`."""
        return b

    @abstractmethod
    def added_macs(self, d_in: int, d_out: int, cfg: Any) -> int:
        """Multiply-accumulates of matrix products that each further token adds to those of the base layer."""


class InputVariant(Variant):
    """An adapter that acts before the layer: it turns x into another x, and leaves y alone."""

    @abstractmethod
    def adapt_input(self, layer: Layer, cfg: Any, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """What the layer is given in place of x."""

    def forward(self, layer: Layer, cfg: Any, x: Tensor, y: Tensor) -> Tensor:
        return y


REGISTRY: dict[str, Variant] = {}
V = TypeVar("V", bound=type[Variant])


def register(cls: V) -> V:
    """Class decorator: make a variant known under its config's `variant` name."""
    REGISTRY[cls.config.variant] = cls()
    return cls


def trained_parameters(cfg: AdapterConfig, d_in: int, d_out: int) -> int:
    """Trained parameters on one (d_out, d_in) target, from shapes alone."""
    specs = REGISTRY[cfg.variant].param_specs(d_in, d_out, cfg)
    return sum(spec.numel for spec in specs.values() if spec.trained)


def added_macs(cfg: AdapterConfig, d_in: int, d_out: int) -> int:
    """Added multiply-accumulates per token on one (d_out, d_in) target, from shapes alone."""
    return REGISTRY[cfg.variant].added_macs(d_in, d_out, cfg)


def wide(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 where the dtype is that already: what sums and small differences are computed in."""
    return torch.promote_types(dtype, torch.float32)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The same numbers in float32, or in float64 where they already are."""
    return tensor.to(wide(tensor.dtype))
