"""What a step may leave out of a model, or put together: tried on the model itself, not taken from its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from antipasto.quantised import evaluating

from ..core.compat import has_hooks


@torch.no_grad()
def plain_head(model: Any) -> nn.Linear | None:
    """The layer whose output on the last hidden states is the logits; None where more is done to them.

    Some models scale or bend their logits, and an adapter may sit on this very layer.
    """
    head, body = model.get_output_embeddings(), model.base_model
    if body is model or type(head) is not nn.Linear or head.bias is not None:
        return None
    if has_hooks(head):  # an adapter, or a layer that accelerate moves
        return None
    seen: list[Tensor] = []
    handles = [
        body.register_forward_hook(lambda module, args, out: seen.append(out.last_hidden_state)),
        head.register_forward_hook(lambda module, args, out: seen.extend((*args, out))),
    ]
    try:
        with evaluating(model):
            ids = torch.arange(4, device=next(model.parameters()).device)[None]
            seen.append(model(input_ids=ids, use_cache=False).logits)
    finally:
        for handle in handles:
            handle.remove()
    hidden, head_input, head_output, logits = seen
    return head if torch.equal(hidden, head_input) and torch.equal(head_output, logits) else None


@torch.no_grad()
def last_mlp(model: Any) -> nn.Module | None:
    """The MLP of a model's last block, where its output at one token changes no other token's hidden state.

    None where there is no such module, or a backward pass would call it again (gradient checkpointing).
    """
    layers = getattr(model.base_model, "layers", None)
    if not isinstance(layers, nn.ModuleList) or is_computed_again(model, layers[-1]):
        return None
    mlp = getattr(layers[-1], "mlp", None)
    if mlp is None:
        return None
    parameter = next(model.parameters())
    ids = torch.arange(8, device=parameter.device).view(2, 4)
    positions = torch.tensor([1, 2, 7])
    calls: list[tuple[Any, Any]] = []
    handle = mlp.register_forward_hook(lambda module, args, out: calls.append((args, out)))
    try:
        with evaluating(model):
            whole = model.base_model(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
    finally:
        handle.remove()
    if len(calls) != 1 or len(calls[0][0]) != 1 or not isinstance(calls[0][1], Tensor):
        return None
    with evaluating(model), at_positions(mlp, positions):
        some = model.base_model(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
    positions = positions.to(whole.device)
    # Fewer rows are summed in another order, no more.
    tolerance = 1e-4 if parameter.dtype == torch.float32 else 3e-2
    return mlp if (some - whole)[positions].norm() <= tolerance * whole[positions].norm() else None


def is_computed_again(model: Any, block: nn.Module) -> bool:
    """Whether a backward pass computes a block of the model again: by its own switch, or by one for all blocks."""
    whole = getattr(model, "is_activation_checkpointing", False)
    return bool(getattr(block, "gradient_checkpointing", whole))


@contextmanager
def at_positions(module: nn.Module | None, positions: Tensor) -> Iterator[None]:
    """Apply a module at `positions` (n,) among the tokens of the whole batch alone; its output is 0 elsewhere."""
    if module is None:
        yield
        return
    shapes: list[torch.Size] = []

    def choose(module: nn.Module, args: tuple[Tensor]) -> Tensor:
        (x,) = args  # (batch, length, d)
        shapes.append(x.shape)
        return x.flatten(0, 1).index_select(0, positions.to(x.device, non_blocking=True))[None]

    def spread(module: nn.Module, args: tuple[Tensor], y: Tensor) -> Tensor:
        batch, length, _ = shapes.pop()
        whole = y.new_zeros(batch * length, y.shape[-1])
        return whole.index_copy(0, positions.to(y.device, non_blocking=True), y[0]).view(batch, length, -1)

    handles = [module.register_forward_pre_hook(choose), module.register_forward_hook(spread)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def packs(model: Any) -> bool:
    """Whether sequences in one row, told apart by their positions alone, are to a model as if each had its own row.

    With attention they are; linear attention, for one, may carry the first sequence's state into the second. Compares
    the second sequence's logits, packed, with those it has alone; the tolerance is relative to the error without
    packing positions.
    """
    parameter = next(model.parameters())
    whole = torch.arange(24, device=parameter.device)
    ids = whole.expand(2, -1)
    anew = torch.stack([whole % 16, whole - 9 * (whole >= 9)])  # the second begins at 16 in one row, at 9 in the other
    tolerance = 1e-3 if parameter.dtype == torch.float32 else 0.1
    with evaluating(model):
        mixed = model(input_ids=ids, use_cache=False).logits
        packed = model(input_ids=ids, position_ids=anew, use_cache=False).logits
        for row, start in enumerate((16, 9)):
            alone = model(input_ids=ids[row : row + 1, start:], use_cache=False).logits[0]
            if (packed[row, start:] - alone).norm() > tolerance * (mixed[row, start:] - alone).norm():
                return False
    return True
