"""Weights of linear layers in the layout that a CPU multiplies by, made once for all tokens of all answers.

In bfloat16 torch lays the weights out anew at each call. A pass that computes one token of some answers multiplies few
rows, so that this takes a third to a half of its time: 1536 x 576 by 32 rows took 334 us, by laid out weights 227.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..core.compat import packed_product
from ..core.machine import free_memory

SHARE = 1 / 4  # of the free memory, which the copies may take


@contextmanager
def packed_weights(model: Any) -> Iterator[None]:
    """Multiply by laid out copies of the weights, for the length of a `with` block in which they do not change.

    Layers that compute more than a product, in another dtype than bfloat16 or not on a CPU are left as they are; all
    are where the copies would take too much memory.
    """
    layers = [module for module in model.modules() if _is_plain(module)]
    taken = sum(layer.weight.nbytes for layer in {id(layer.weight): layer for layer in layers}.values())
    replaced: list[nn.Linear] = []
    try:
        if layers and taken <= SHARE * free_memory():
            for layer in layers:
                product = packed_product(layer)
                if product is None:
                    break
                layer.forward = product  # its hooks are called as ever
                replaced.append(layer)
        yield
    finally:
        for layer in replaced:
            del layer.forward


def _is_plain(module: nn.Module) -> bool:
    if type(module) is not nn.Linear or "forward" in vars(module) or hasattr(module, "_hf_hook"):
        return False
    weight = module.weight
    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and weight.layout == torch.strided
