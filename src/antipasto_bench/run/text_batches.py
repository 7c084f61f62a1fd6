"""Texts as batches that a model reads, to measure its outputs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .tokens import prompt_ids

ROWS = 2  # at once: logits of every token take rows x tokens x vocabulary


def text_batches(tokenizer: Any, texts: Sequence[str], max_length: int) -> Iterator[dict[str, Any]]:
    """Batches of `input_ids` and `attention_mask`, padded on the right.

    Args:
        max_length: tokens of a text; what lies beyond is cut off.
    """
    for start in range(0, len(texts), ROWS):
        ids = [row[:max_length] for row in prompt_ids(tokenizer, texts[start : start + ROWS])]
        encoded = tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt")
        yield {name: encoded[name] for name in ("input_ids", "attention_mask")} | {"use_cache": False}
