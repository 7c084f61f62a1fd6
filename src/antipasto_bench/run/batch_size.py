"""How many questions are answered at once: as many as are configured, as memory holds, or the next smaller number.

In bfloat16 an answer depends on the batch that it is generated in. So a batch that memory does not hold is divided
evenly, by its smallest prime factor, and the size in the end is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..core.device import free_on_gpu
from ..core.machine import cores, free_memory

MOST_ROWS_GPU = 512  # questions at once, however much memory is free
ROWS_A_THREAD = 128  # questions at once for each thread of a CPU: more take no less time
MEMORY_SHARE = 0.7  # of the free memory that is taken to be there


def next_smaller_batch(size: int) -> int:
    """The largest proper divisor of a batch size above 1: 50 of 100, 25 of 50, 5 of 25, 1 of 5."""
    return max(divisor for divisor in range(1, size // 2 + 1) if size % divisor == 0)


def sizes_text(sizes: Sequence[int | str]) -> int | str:
    """The batch sizes of a group's processes for the record: the first one's, with those that differ from it."""
    others = [f"process {index}: {size}" for index, size in enumerate(sizes) if size != sizes[0]]
    return f"{sizes[0]} ({', '.join(others)})" if others else sizes[0]


def rows_that_fit(model: Any, width: int, scored: int = 1) -> int:
    """How many sequences a model can take at once.

    Args:
        width: of the longest of them, prompt and answer, in tokens.
        scored: tokens of each sequence that logits are computed for.

    Returns:
        what the free memory holds of keys, values and one layer's activations; on a CPU no more than keeps its threads
        busy, on a GPU no more than 512, and at least 1.
    """
    config = model.config.get_text_config()
    queries = _largest(config, "num_attention_heads")
    heads = _largest(config, "num_key_value_heads") or queries
    size = _largest(config, "head_dim") or config.hidden_size // max(1, queries)
    cache = 2 * config.num_hidden_layers * heads * size  # of all layers, were all of them plain attention
    activations = 4 * max(config.hidden_size, _largest(config, "intermediate_size"))
    # Logits are in float32.
    bytes_a_row = width * (cache + activations) * model.dtype.itemsize + scored * 3 * 4 * config.vocab_size
    if model.device.type == "cuda":
        free, most = free_on_gpu(model.device), MOST_ROWS_GPU
    else:
        threads = torch.get_num_threads()
        part = min(1.0, threads / cores())  # a worker that has half of the cores takes half of it
        free, most = int(part * free_memory()), ROWS_A_THREAD * threads
    return int(max(1, min(most, MEMORY_SHARE * free // bytes_a_row)))


def _largest(config: Any, name: str) -> int:
    """A config value; the largest where it differs by layer, 0 where the model has none."""
    value = getattr(config, name, None) or 0
    return max(value) if isinstance(value, list | tuple) else value
