"""Merge an adapter into the weights, so that the plain layers compute it at no extra cost, and undo that."""

from __future__ import annotations

import torch
from torch import nn

from .attachment import Weights, attachment
from .config import AdapterError
from .layer import bias_of
from .quantised import quantisation
from .variant import at_least_float32


@torch.no_grad()
def merge(model: nn.Module) -> nn.Module:
    """Merge the adapter into the weights.

    The layers' own tensors are stored, not overwritten: `unmerge` puts the same tensors back.

    Raises:
        AdapterError: there is no adapter, it is merged already, its variant is not a change of W, or a target is
            quantised.
    """
    state = attachment(model)
    state.require_enabled("merging")
    if state.merged:
        raise AdapterError("this adapter is merged already; call unmerge(model) first")
    refusal = merge_refusal(model)
    if refusal:
        raise AdapterError(refusal)
    merged = {}
    for name, layer in state.targets.items():
        weight = state.variant.merged_weight(layer, state.cfg, at_least_float32(layer.weight.data))
        bias = bias_of(layer)
        if bias is not None:
            bias = state.variant.merged_bias(layer, state.cfg, at_least_float32(bias.data)).to(bias.dtype)
        merged[name] = Weights(weight.to(layer.weight.dtype), bias)
    for name, weights in merged.items():
        state.unmerged[name] = state.put(name, weights)
    state.unhook()
    return model


def merge_refusal(model: nn.Module) -> str | None:
    """Why the attached adapter cannot be merged; None where it can.

    Raises:
        AdapterError: there is no adapter.
    """
    state = attachment(model)
    if not state.variant.mergeable:
        return f"{state.cfg.variant} is not a change of the weight and cannot be merged"
    for name, layer in state.targets.items():
        bits = quantisation(layer)
        if bits:
            return (
                f"{name} is quantised ({bits}): a merged weight would have to be rounded to {bits} again, and would "
                "not compute what was trained; use the adapter unmerged, or load it onto the unquantised base"
            )
    return None


def unmerge(model: nn.Module) -> nn.Module:
    """Undo `merge`, exactly.

    Raises:
        AdapterError: there is no adapter, or it is not merged.
    """
    state = attachment(model)
    state.require_enabled("unmerging")
    if not state.merged:
        raise AdapterError("this adapter is not merged")
    for name in list(state.unmerged):
        state.put(name, state.unmerged.pop(name))
    state.hook(model)
    return model
