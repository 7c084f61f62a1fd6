"""Blocks of published shapes with random weights, and batches of random tokens for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from antipasto_bench.data import IGNORED

VOCABULARY = 2048  # a real one would hide the blocks behind its output layer
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3": {"hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16},  # Qwen3-0.6B
    "llama": {"hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24},  # Llama-3.2-3B
}


def blocks(kind: str, layers: int = 28, dtype: torch.dtype = torch.float32) -> Any:
    """Some blocks of one of SHAPES; all 28 of them by default."""
    torch.manual_seed(0)
    common = {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": VOCABULARY, "tie_word_embeddings": True}
    config = AutoConfig.for_model(kind, num_hidden_layers=layers, **SHAPES[kind], **common)
    return AutoModelForCausalLM.from_config(config).to(dtype)


def random_batch(rows: int, width: int) -> dict[str, Tensor]:
    """Tokens of which the second half bears loss."""
    ids = torch.randint(VOCABULARY, (rows, width), generator=Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, : width // 2] = IGNORED
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
