"""The only module that uses other packages' private or undocumented parts.

| part | of | written for |
|---|---|---|
| `Tensor._version` | torch | 2.13 |
| `Linear4bit.weight.quant_state`, its `packing_format_for_cpu` | bitsandbytes | 0.50 |
| `functional._convert_weight_packed_for_cpu_inverse` | bitsandbytes | 0.50 |
| `Linear8bitLt.weight.CB` and `.SCB`, or the same on `Linear8bitLt.state` | bitsandbytes | 0.50 |

tests/antipasto/test_compat.py fails where one of them is gone. Without it, each function here is slower and right, or
raises an AdapterError that names the part and the version.
"""

from __future__ import annotations

import copy
import importlib.metadata
from typing import Any

import torch
from torch import Tensor

from .config import AdapterError


def version_of(tensor: Tensor) -> object:
    """What compares unequal after every change of a tensor in place.

    Where torch does not count changes (of tensors from inference mode, or without `Tensor._version`) it equals nothing
    but itself, so that whatever was computed from the tensor is computed again.
    """
    try:
        return tensor._version
    except (AttributeError, RuntimeError):
        return object()


def is_4bit(weight: Any) -> bool:
    """Whether a bitsandbytes weight is a 4-bit one."""
    return hasattr(weight, "quant_state")


def is_repacked(weight: Any) -> bool:
    """Whether bitsandbytes has repacked a 4-bit weight into the layout of its CPU kernels, which have no backward."""
    return bool(getattr(getattr(weight, "quant_state", None), "packing_format_for_cpu", False))


def dequantised_4bit(weight: Any) -> Tensor:
    """A 4-bit weight (d_out, d_in) in the dtype that it was quantised from. The weight itself is not changed.

    Raises:
        AdapterError: it was repacked, and the installed bitsandbytes has no inverse of that.
    """
    from bitsandbytes import functional

    codes, state = weight.data, weight.quant_state
    if is_repacked(weight):
        inverse = getattr(functional, "_convert_weight_packed_for_cpu_inverse", None)
        if inverse is None:
            raise AdapterError(
                "a 4-bit weight was repacked by a call in eval mode, and bitsandbytes "
                f"{_version('bitsandbytes')} has no functional._convert_weight_packed_for_cpu_inverse to read it by; "
                "load the base model again and attach before the first evaluation, or install bitsandbytes 0.50"
            )
        codes, state = inverse(codes, copy.copy(state))
    dequantised: Tensor = functional.dequantize_4bit(codes, state)
    return dequantised


def dequantised_8bit(layer: Any) -> Tensor:
    """The weight (d_out, d_in) of an 8-bit layer, in float32.

    Raises:
        AdapterError: its codes and scales are not where bitsandbytes 0.50 keeps them.
    """
    # Before its first forward pass the layer keeps them on the weight, afterwards in its state.
    for place in (layer.weight, getattr(layer, "state", None)):
        codes, scales = getattr(place, "CB", None), getattr(place, "SCB", None)
        if codes is not None and scales is not None:
            weight: Tensor = codes.to(torch.float32) * (scales.to(torch.float32) / 127)[:, None]
            return weight
    raise AdapterError(
        f"an 8-bit layer of bitsandbytes {_version('bitsandbytes')} has its codes CB and scales SCB neither on its "
        "weight nor in its state; install bitsandbytes 0.50"
    )


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
