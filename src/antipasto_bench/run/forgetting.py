"""How much of what the base model knew is lost: its loss on general text, before training and after."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import torch

from antipasto.quantised import evaluating

from ..spec.config import RunConfig
from ..store.origins import DataDigest
from .completion_loss import CompletionLoss
from .examples import IGNORED
from .tokens import prompt_ids

BATCH = 8


def measure_general_loss(run: RunConfig, model: Any, tokenizer: Any, texts: list[str]) -> tuple[float | None, int]:
    """The mean loss on general text with the model as it stands, nats a token, and the number of tokens."""
    loss, tokens = mean_token_loss(model, tokenizer, texts, run.data.max_length)
    return (loss if math.isfinite(loss) else None), tokens


def texts_digest(texts: list[str]) -> DataDigest:
    """Which texts those were: for the provenance."""
    return DataDigest(rows=len(texts), sha256=hashlib.sha256(json.dumps(texts).encode()).hexdigest())


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
            ids = [each[:max_length] for each in prompt_ids(tokenizer, by_length[start : start + BATCH])]
            batch = tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt")
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
            scored = int((labels[:, 1:] != IGNORED).sum())
            if scored:
                total += float(loss({"input_ids": batch["input_ids"], "labels": labels}))
            count += scored
    return (total / count if count else float("nan")), count
