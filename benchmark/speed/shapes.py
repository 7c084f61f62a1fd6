"""Blocks of published shapes with random weights, and batches of random tokens for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from antipasto_bench.data import IGNORED

VOCABULARY = 2048  # a real one would hide the blocks behind its output layer


def qwen3_06b(layers: int = 28, vocabulary: int = VOCABULARY, dtype: torch.dtype = torch.float32) -> Any:
    """Blocks of Qwen3-0.6B's shape."""
    torch.manual_seed(0)
    config = Qwen3Config(
        hidden_size=1024, intermediate_size=3072, num_hidden_layers=layers, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, vocab_size=vocabulary, tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).to(dtype)


def llama_32_3b(layers: int = 28, vocabulary: int = VOCABULARY, dtype: torch.dtype = torch.float32) -> Any:
    """Blocks of Llama-3.2-3B's shape."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=3072, intermediate_size=8192, num_hidden_layers=layers, num_attention_heads=24,
        num_key_value_heads=8, head_dim=128, vocab_size=vocabulary, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(dtype)


def random_batch(rows: int, width: int, vocabulary: int = VOCABULARY) -> dict[str, Tensor]:
    """Tokens of which the second half bears loss."""
    ids = torch.randint(vocabulary, (rows, width), generator=Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, : width // 2] = IGNORED
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
