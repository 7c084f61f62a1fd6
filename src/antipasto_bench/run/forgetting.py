"""How much of what the base model knew is lost: its loss on general text, before training and after."""

from __future__ import annotations

from typing import Any

import torch

from antipasto.quantised import evaluating

from .data import IGNORED
from .step import CompletionLoss

BATCH = 8


@torch.no_grad()
def mean_token_loss(model: Any, tokenizer: Any, texts: list[str], max_length: int) -> tuple[float, int]:
    """Mean of -log p(token | all before it) over every token of the texts but each one's first.

    Args:
        texts: each is a document of its own; what lies beyond `max_length` tokens is cut off.

    Returns:
        nats a token, and how many tokens that is the mean of; nan and 0 where no text has two tokens.
    """
    total, count = 0.0, 0
    by_length = sorted(texts, key=len)  # like lengths together: little is padding
    loss = CompletionLoss(model)
    with evaluating(model):
        for start in range(0, len(by_length), BATCH):
            batch = tokenizer(
                by_length[start : start + BATCH],
                return_tensors="pt",
                padding=True,
                padding_side="right",
                truncation=True,
                max_length=max_length,
            )
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
            scored = int((labels[:, 1:] != IGNORED).sum())
            if scored:
                total += float(loss({"input_ids": batch["input_ids"], "labels": labels}))
            count += scored
    return (total / count if count else float("nan")), count
