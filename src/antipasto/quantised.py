"""Quantised layers: what of them an adapter needs to know.

bitsandbytes is an optional extra; it is imported only where a layer of its own is met.

On some CPUs a 4-bit layer repacks its weight for good the first time that it is called in eval mode: from then on no
gradient passes through it, and its codes mean something else. So nothing here calls one in eval mode, and a layer
that was repacked already is not adapted.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def quantisation(layer: Any) -> str | None:
    """`8-bit` or `4-bit` for a bitsandbytes layer, None for a plain one."""
    if not any(cls.__module__.startswith("bitsandbytes") for cls in type(layer).__mro__):
        return None
    if not hasattr(layer, "weight") or layer.weight.is_floating_point():
        return None  # another of its modules, or a layer that keeps its weight as it is
    return "4-bit" if hasattr(layer.weight, "quant_state") else "8-bit"


def repacked(layer: Any) -> bool:
    """Whether a 4-bit layer has turned into one that can only be evaluated."""
    return bool(getattr(getattr(layer.weight, "quant_state", None), "packing_format_for_cpu", False))


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
    """The layer's weight (d_out, d_in): its own data, or what its quantised data stand for.

    A 4-bit weight comes back in the dtype that it was quantised from, an 8-bit one in float32.
    """
    bits = quantisation(layer)
    if bits is None:
        return layer.weight.detach()
    if bits == "4-bit":
        from bitsandbytes import functional

        codes, state = layer.weight.data, layer.weight.quant_state
        if repacked(layer):  # trained before, evaluated now: read it back, and leave the layer as it is
            codes, state = functional._convert_weight_packed_for_cpu_inverse(codes, copy.copy(state))
        return functional.dequantize_4bit(codes, state)
    # Before its first forward the layer keeps codes and scales on the weight, afterwards in its state.
    codes, scales = layer.weight.CB, layer.weight.SCB
    if codes is None:
        codes, scales = layer.state.CB, layer.state.SCB
    return codes.to(torch.float32) * (scales.to(torch.float32) / 127)[:, None]
