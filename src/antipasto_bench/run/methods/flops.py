"""Multiply-accumulates that an adapter adds, counted on a forward pass where no formula gives them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from antipasto.quantised import evaluating

from ...core.compat import one_sequence_a_row
from .peft_state import seeded

SHORT, LONG = 8, 16  # tokens of two passes: what they share is of a pass, and not of a token


def added_macs(model: Any, disabled: Callable[[], AbstractContextManager[Any]]) -> int | None:
    """Multiply-accumulates of matrix products that each token's forward adds; None where they cannot be counted.

    Of a pass with 16 tokens those of one with 8 are taken away, so that what an adapter computes once for all tokens,
    as the product of its own matrices, is left out. A multiply-accumulate is two of torch's floating-point operations.

    Args:
        disabled: gives a `with` block in which the model computes what its base does.
    """
    try:
        with seeded(0), evaluating(model):
            adapted = _flops(model, LONG) - _flops(model, SHORT)
            with disabled():
                base = _flops(model, LONG) - _flops(model, SHORT)
    except (RuntimeError, NotImplementedError):  # an operation that shapes alone cannot compute
        return None
    return round((adapted - base) / (2 * (LONG - SHORT)))


def prompt_macs(config: Any, virtual_tokens: int) -> int:
    """What each token's attention to virtual tokens adds: scores and values, 2 x tokens x heads x width in each layer.

    Args:
        config: of the base model.
    """
    text = config.get_text_config()
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return int(2 * virtual_tokens * heads * width * text.num_hidden_layers)


@torch.no_grad()
def _flops(model: Any, tokens: int) -> int:
    device = next(model.parameters()).device
    ids = torch.zeros((1, tokens), dtype=torch.long, device=device)
    # Attention as plain products: on a GPU torch's formulas refuse key heads that several query heads share.
    plain = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, plain, one_sequence_a_row():  # else it looks at positions' values
        model(input_ids=ids, use_cache=False)
    return int(counter.get_total_flops())
