"""A GGUF file of a tiny Llama with the embedded model's tokenizer, written as converters write them."""

import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

from antipasto_bench.nano import MODEL_DIR

HIDDEN, MLP, LAYERS, HEADS = 64, 96, 2, 2
QUANTISED = GGMLQuantizationType.Q4_1


def write_tiny_gguf(path: Path, seed: int = 0, splits: str = "smollm") -> dict[str, NDArray[np.float32]]:
    """Write the file.

    Args:
        splits: the name of how text is split before the merges; smollm has digits one by one, as the embedded
            tokenizer.

    Returns:
        the weights that it holds, dequantised, by their names in the file.
    """
    rng = np.random.default_rng(seed)
    tokenizer = json.loads((MODEL_DIR / "tokenizer.json").read_text())
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    vocabulary = [*[token["content"] for token in tokenizer["added_tokens"] if token["content"] not in vocabulary],
                  *vocabulary]  # fmt: skip
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splits)
    writer.add_token_list(vocabulary)
    writer.add_token_types([3, *[1] * (len(vocabulary) - 1)])
    writer.add_token_merges(merges)
    for name in ("bos", "eos", "pad", "unk"):
        getattr(writer, f"add_{name}_token_id")(0)
    shapes = {"token_embd.weight": (len(vocabulary), HIDDEN), "output_norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.{name}.weight": (HIDDEN,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{layer}.attn_{name}.weight": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{name}.weight": (MLP, HIDDEN) for name in ("gate", "up")}
        shapes |= {f"blk.{layer}.ffn_down.weight": (HIDDEN, MLP)}
    held: dict[str, NDArray[np.float32]] = {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape).astype(np.float32) * 0.2 + (len(shape) == 1)
        if len(shape) == 1:
            writer.add_tensor(name, values)
            held[name] = values
        else:
            packed = quantize(values, QUANTISED)
            writer.add_tensor(name, packed, raw_dtype=QUANTISED)
            held[name] = dequantize(packed, QUANTISED)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held
