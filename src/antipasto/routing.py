"""Gradient routing and what it needs: parameters set to zero, and the base model's logprobs without a second copy.

    with routed(model, "lora_delta_s_hack"):     # only this tensor gets the gradient of this half of the batch
        loss_of_one_half.backward()
    with zeroed(model, "lora_delta_s_hack"):     # the model without what it learned from that half
        ...

Cloud et al., Gradient routing, 2410.04332.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .adapter import disabled, trainable_parameters
from .attachment import attachment
from .config import AdapterError, did_you_mean
from .merging import merge, unmerge
from .quantised import evaluating


@contextmanager
def zeroed(model: nn.Module, *names: str) -> Iterator[nn.Module]:
    """Some trained tensors set to zero for the length of a `with` block; they come back bit for bit.

    Args:
        names: of tensors on every target, such as "lora_delta_s_hack".

    Raises:
        AdapterError: no adapter is attached, or it trains no tensor of that name.
    """
    chosen, state = _named(model, names), attachment(model)
    merged = state.merged
    if merged:
        unmerge(model)
    replaced: list[tuple[nn.Parameter, Tensor]] = []
    try:
        for parameter in chosen:
            zeros = torch.zeros_like(parameter)
            replaced.append((parameter, parameter.data))
            parameter.data = zeros
        if merged:
            merge(model)
        torch.clear_autocast_cache()  # it may hold the old values in another dtype
        try:
            yield model
        finally:
            merged = state.merged  # a merge or unmerge inside the block stays in force
    finally:
        if state.merged:
            unmerge(model)
        for parameter, data in replaced:
            parameter.data = data
        if merged:
            merge(model)
        torch.clear_autocast_cache()


@contextmanager
def routed(model: nn.Module, *names: str) -> Iterator[nn.Module]:
    """Only the named tensors receive a gradient from a forward and backward pass inside the `with` block.

    Raises:
        AdapterError: no adapter is attached, or it trains no tensor of that name.
    """
    chosen = {id(parameter) for parameter in _named(model, names)}
    others = [p for p in trainable_parameters(model).values() if id(p) not in chosen and p.requires_grad]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield model
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def _named(model: nn.Module, names: tuple[str, ...]) -> list[nn.Parameter]:
    trained = trainable_parameters(model)
    known = {name.rpartition(".")[2] for name in trained}
    for name in names:
        if name not in known:
            raise AdapterError(f"this adapter trains no {name!r}{did_you_mean(name, known)}")
    return [parameter for name, parameter in trained.items() if name.rpartition(".")[2] in names]


@torch.no_grad()
def reference_logprobs(
    model: nn.Module, input_ids: Int[Tensor, "B T"], attention_mask: Int[Tensor, "B T"] | None = None
) -> Float[Tensor, "B T-1"]:
    """The base model's log p(token t+1 | tokens to t), in nats and float32, from the adapted model itself.

    The adapter is disabled and the model in eval mode during the call; both are restored.

    Raises:
        AdapterError: no adapter is attached.
    """
    kwargs = {} if attention_mask is None else {"attention_mask": attention_mask}
    with evaluating(model), disabled(model):
        logits = model(input_ids=input_ids, **kwargs).logits[:, :-1]
    return -nn.functional.cross_entropy(logits.mT.float(), input_ids[:, 1:], reduction="none")
