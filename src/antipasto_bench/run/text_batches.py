"""Texts as batches that a model reads, to measure its outputs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

ROWS = 2  # at once: logits of every token take rows x tokens x vocabulary


def text_batches(tokenizer: Any, texts: Sequence[str], max_length: int) -> Iterator[dict[str, Any]]:
    """Batches of `input_ids` and `attention_mask`, padded on the right.

    Args:
        max_length: tokens of a text; what lies beyond is cut off.
    """
    for start in range(0, len(texts), ROWS):
        encoded = tokenizer(
            list(texts[start : start + ROWS]),
            return_tensors="pt",
            padding=True,
            padding_side="right",
            truncation=True,
            max_length=max_length,
        )
        yield {name: encoded[name] for name in ("input_ids", "attention_mask")} | {"use_cache": False}
