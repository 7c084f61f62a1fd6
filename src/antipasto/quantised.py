"""Quantised layers: what an adapter needs to know of them.

bitsandbytes is an optional extra; it is imported only where a layer of its own is met.

On some CPUs a 4-bit layer repacks its weight for good the first time that it is called in eval mode. From then on no
gradient passes through the layer, and its codes are read by other rules. So nothing here calls such a layer in eval
mode, and no adapter is attached to a layer that was repacked before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .compat import dequantised_4bit, dequantised_8bit, is_4bit, is_repacked


def quantisation(layer: Any) -> str | None:
    """`8-bit` or `4-bit` for a bitsandbytes layer, None for a plain one."""
    if not any(cls.__module__.startswith("bitsandbytes") for cls in type(layer).__mro__):
        return None
    if not hasattr(layer, "weight") or layer.weight.is_floating_point():
        return None  # another of its modules, or a layer whose weight is not quantised
    return "4-bit" if is_4bit(layer.weight) else "8-bit"


def repacked(layer: Any) -> bool:
    """Whether a 4-bit layer was repacked, so that it can only be evaluated."""
    return is_repacked(layer.weight)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Eval mode for the length of a `with` block, without repacking 4-bit layers; each module's own mode comes back."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        for module in modes:
            if quantisation(module) == "4-bit":
                module.training = True
        yield model
    finally:
        for module, training in modes.items():
            module.training = training


def weight_of(layer: Any) -> Tensor:
    """The layer's weight (d_out, d_in); of a quantised layer, the dequantised weight.

    A 4-bit weight comes back in the dtype that it was quantised from, an 8-bit one in float32.

    Raises:
        AdapterError: the installed bitsandbytes stores the weight in another way than this library can read.
    """
    match quantisation(layer):
        case "4-bit":
            return dequantised_4bit(layer.weight)
        case "8-bit":
            return dequantised_8bit(layer)
    weight: Tensor = layer.weight.detach()
    return weight
