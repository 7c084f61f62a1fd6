"""Merge an adapter into the weights, so that the plain layers compute it at no extra cost, and undo that.

A merged weight is rounded to the layer's dtype; `merge_error` measures what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .adapter import disabled
from .attachment import Attachment, Weights, attachment
from .calibration import on_device
from .config import AdapterError
from .layer import bias_of
from .quantised import evaluating, quantisation
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
    _require_mergeable(model)
    for name, weights in _merged_weights(state).items():
        state.unmerged[name] = state.put(name, weights)
    state.unhook()
    return model


def _require_mergeable(model: nn.Module) -> None:
    if attachment(model).merged:
        raise AdapterError("this adapter is merged already; call unmerge(model) first")
    refusal = merge_refusal(model)
    if refusal:
        raise AdapterError(refusal)


def _merged_weights(state: Attachment, dtype: torch.dtype | None = None) -> dict[str, Weights]:
    """Each target's merged tensors, computed in float32 at least and rounded to `dtype`, or else to the layer's own."""
    merged = {}
    for name, layer in state.targets.items():
        weight = state.variant.merged_weight(layer, state.cfg, at_least_float32(layer.weight.data))
        bias = bias_of(layer)
        if bias is not None:
            bias = state.variant.merged_bias(layer, state.cfg, at_least_float32(bias.data)).to(dtype or bias.dtype)
        merged[name] = Weights(weight.to(dtype or layer.weight.dtype), bias)
    return merged


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


@torch.no_grad()
def merge_error(model: nn.Module, batches: Iterable[Any], dtype: torch.dtype | None = None) -> float:
    """How far the merged model's outputs are from the unmerged one's, relative to all that the adapter changes.

        error = |merged - unmerged| / |unmerged - base|    Euclidean norms over all outputs of tokens but padding

    Merging rounds W + dW to W's dtype. bfloat16 has 8 bits: where |dW| is 1 % of |W|, a good part of dW is lost, though
    none of it was in training.

    Args:
        model: with an adapter that is not merged; it computes in eval mode, and is then as it was.
        batches: inputs as `attach` takes them for calibration. An output that is no tensor is represented by its
            `logits`. Tokens whose `attention_mask` is 0 are left out.
        dtype: that merged weights are rounded to; the layers' own where None.

    Returns:
        0 where merging changes nothing, inf where it does and the adapter itself does not, nan where outputs are not
        finite.

    Raises:
        AdapterError: there is no adapter, it cannot be merged or is merged already, or there is no batch.
    """
    state = attachment(model)
    state.require_enabled("merging")
    _require_mergeable(model)
    merged = _merged_weights(state, dtype)
    return relative_error(model, batches, lambda: disabled(model), lambda: _merged(model, merged))


def relative_error(
    model: nn.Module,
    batches: Iterable[Any],
    base: Callable[[], AbstractContextManager[Any]],
    merged: Callable[[], AbstractContextManager[Any]],
) -> float:
    """As `merge_error`, of any model with an adapter.

    Args:
        base: makes the model compute what its base does, for the length of a `with` block.
        merged: makes it compute with merged weights.

    Raises:
        AdapterError: there is no batch.
    """
    lost = change = 0.0
    batch_count = 0
    with evaluating(model):
        for args, kwargs in on_device(batches, model):
            batch_count += 1
            mask = kwargs.get("attention_mask")
            unmerged = _outputs(model, args, kwargs)
            with base():
                change += _squared_distance(_outputs(model, args, kwargs), unmerged, mask)
            with merged():
                lost += _squared_distance(_outputs(model, args, kwargs), unmerged, mask)
    if batch_count == 0:
        raise AdapterError("no batch was given to measure the error of merging on")
    if change == 0:
        return math.inf if lost > 0 else lost
    return math.sqrt(lost / change)


@contextmanager
def _merged(model: nn.Module, merged: dict[str, Weights]) -> Iterator[None]:
    """The model with merged tensors, which are computed already, for the length of a `with` block."""
    state = attachment(model)
    unmerged = {name: state.put(name, weights) for name, weights in merged.items()}
    state.unhook()
    try:
        yield
    finally:
        for name, weights in unmerged.items():
            state.put(name, weights)
        state.hook(model)


def _outputs(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Outputs in the model's dtype: (batch, tokens, features)."""
    outputs = model(*args, **kwargs)
    tensor: Tensor = outputs if isinstance(outputs, Tensor) else outputs.logits
    return tensor


def _squared_distance(a: Tensor, b: Tensor, mask: Tensor | None) -> float:
    """Sum of squared differences over the tokens that the mask does not leave out, in float64."""
    total = torch.zeros((), dtype=torch.float64, device=a.device)
    for index, (row_a, row_b) in enumerate(zip(a, b, strict=True)):  # of all rows at once, float32 copies are large
        difference = row_a.float() - row_b.float()  # (tokens, features)
        if mask is not None:
            difference = difference[mask[index].to(difference.device).bool()]
        total += torch.linalg.vector_norm(difference, dtype=torch.float64).square()
    return float(total)
