"""Models of published shapes with random weights, and batches of random tokens for them."""

from __future__ import annotations

from math import exp
from random import Random
from typing import Any

import torch
from torch import Generator, Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from ..run.examples import IGNORED, Example, bucketed_batches

SMALL_VOCABULARY = 2048  # tokens; with a real one the output layer would take most of a step's time
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen3-0.6B": (
        "qwen3",
        {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "vocab_size": 151936}
        | {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128},
    ),
    "Llama-3.2-3B": (
        "llama",
        {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "vocab_size": 128256}
        | {"num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128},
    ),
    "Qwen3.5-0.8B": (
        "qwen3_5_text",
        {"hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 24, "vocab_size": 248320}
        | {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256}
        | {"linear_num_key_heads": 16, "linear_num_value_heads": 16},
    ),
}


def build_model(name: str, dtype: torch.dtype = torch.float32, device: str = "cpu", **other: Any) -> Any:
    """A model of one of SHAPES with random weights; `other` fields of its config win over the published ones.

    The weights are drawn on the device: a processor takes a minute for three billion of them.
    """
    torch.manual_seed(0)
    kind, shape = SHAPES[name]
    config = AutoConfig.for_model(kind, **shape | {"tie_word_embeddings": True} | other)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False).to(dtype)


def build_blocks(layers: int, **other: Any) -> Any:
    """A model of some blocks of Qwen3-0.6B's shape, in float32, with a small vocabulary."""
    return build_model("Qwen3-0.6B", num_hidden_layers=layers, vocab_size=SMALL_VOCABULARY, **other)


def unlike_batches(count: int, rows: int, vocabulary: int) -> list[dict[str, Tensor]]:
    """Batches of random tokens, padded to their longest row; the second half of each row bears loss.

    Rows have 40 to 512 tokens, 165 in the median, as questions and answers of MetaMathQA have. They are in batches of
    like length, as training has them.
    """
    lengths = Random(0)
    drawn = [min(512, max(40, round(165 * exp(lengths.gauss(0, 0.45))))) for _ in range(count * rows)]
    tokens = Generator().manual_seed(0)
    examples = [
        Example(torch.randint(vocabulary, (length,), generator=tokens).tolist(), length // 2, "", "")
        for length in drawn
    ]
    return list(bucketed_batches(examples, rows, 0, Generator().manual_seed(0)))


def random_batch(rows: int, width: int, vocabulary: int = SMALL_VOCABULARY) -> dict[str, Tensor]:
    """A batch of `rows` x `width` random tokens; the second half of each row bears loss."""
    ids = torch.randint(vocabulary, (rows, width), generator=Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, : width // 2] = IGNORED
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
