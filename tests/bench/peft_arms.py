"""Arms of PEFT on a Llama of 64 wide layers, and settings of each tuner type that fit it."""

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

EXPERIMENTS = Path(__file__).parents[3] / "shared" / "reference" / "peft_experiments"
ATTENTION, MLP = 48, 24  # ranks that osf keeps of 64 and 32

TINY = LlamaConfig(
    vocab_size=512,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=1024,
    pad_token_id=0,
    bos_token_id=None,
    eos_token_id=0,
)

# What does not fit layers of 32 to 128: sizes that must divide them or be no more, and places in the vocabulary.
FITTING: dict[str, dict[str, Any]] = {
    "adalora": {"init_r": 6, "target_r": 4, "tinit": 1, "tfinal": 1},
    "adamss": {"r": 8, "num_subspaces": 2},
    "adaption_prompt": {"adapter_len": 4, "adapter_layers": 2},
    "beft": {"target_modules": ["v_proj"]},
    "c3a": {"block_size": 16},
    "fourierft": {"n_frequency": 100},
    "lily": {"stride_A": 1},
    "miss": {"r": 16},
    "oft": {"r": 0, "oft_block_size": 16},
    "p_tuning": {"num_virtual_tokens": 4, "encoder_hidden_size": 64},
    "prefix_tuning": {"num_virtual_tokens": 4},
    "prompt_tuning": {"num_virtual_tokens": 4},
    "psoft": {"r": 16},
    "road": {"group_size": 32},
    "shira": {"r": 8},
    "trainable_tokens": {"token_indices": [1, 2]},
    "vblora": {"vector_length": 16},
    "waveft": {"n_frequency": 100},
}


def tiny_llama() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(TINY).eval()
