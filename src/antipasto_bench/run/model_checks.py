"""A model and its tokenizer as they were loaded: whether they fit each other, and hold numbers to train with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.errors import UserError
from .model_files import weight_shapes
from .tokens import text_ids

_PROBES = ("1", "2", "The answer is 1234567890.")
_WHOLE_NUMBERS = ("BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64")  # dtypes, as safetensors calls them
_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")


def check_kind(config: Any) -> None:
    """Refuse a model that does not continue text: an encoder, or an encoder and decoder.

    Raises:
        UserError: with its architecture.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    encodes = getattr(config, "is_encoder_decoder", False) or (
        kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    )
    unknown = kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not getattr(config, "auto_map", None)
    if encodes or unknown:
        (architecture, *_) = getattr(config, "architectures", None) or [type(config).__name__]
        raise UserError(f"{architecture} (model_type {kind}) is not a causal language model, which continues a text")


def check_quantisation(config: Any) -> None:
    """Refuse a config that says how its weights are quantised in a way that transformers does not know.

    Its loader leaves such a setting out with a warning, and its later readers fail.

    Raises:
        UserError: with what it says.
    """
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as KNOWN

    if not isinstance(settings, dict):
        raise UserError(f"config.json: quantization_config is {str(settings)[:40]!r}; expected a mapping")
    method = settings.get("quant_method")
    if not (settings.get("load_in_4bit") or settings.get("load_in_8bit") or method in (*KNOWN, "bitsandbytes")):
        raise UserError(f"config.json: quant_method is {method!r}, which this transformers does not know")


def check_tokenizer(tokenizer: Any) -> None:
    """Refuse a tokenizer that cannot tell texts apart, as libraries make one where its file is missing.

    Raises:
        UserError: it gives no tokens, unknown ones alone, or the same ones for two digits.
    """
    one, two, sentence = text_ids(tokenizer, _PROBES)
    if not sentence or set(sentence) == {tokenizer.unk_token_id}:
        known = "no tokens" if not sentence else "unknown tokens alone"
        raise UserError(
            f"its tokenizer reads {_PROBES[2]!r} as {known}; copy tokenizer.json of its base into its folder"
        )
    if one == two:
        raise UserError(f"its tokenizer reads '1' and '2' as the same tokens, {one}; copy tokenizer.json of its base")


def check_vocabulary(tokenizer: Any, model: nn.Module) -> None:
    """Refuse a tokenizer with ids that the model has no embedding for.

    Added special tokens that no text of ours holds may lie beyond the embeddings, as in Gemma 3's text models.

    Raises:
        UserError: it is the tokenizer of another model.
    """
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    rows = int(embedding.weight.shape[0])
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    texts = {token: number for token, number in tokenizer.get_vocab().items() if token not in special}
    used = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    for name, number in used.items():
        if number is not None and not 0 <= number < rows:
            raise UserError(f"its tokenizer's {name} token has the id {number}, and the model {rows} embeddings")
    token, largest = max(texts.items(), key=lambda each: each[1], default=("", -1))
    if largest >= rows:
        raise UserError(
            f"its tokenizer has ids up to {largest} (token {token!r}), and the model {rows} embeddings: it is that of "
            "another model"
        )


def check_weights(model: nn.Module) -> None:
    """Refuse weights that are not finite, and embeddings that are all zero, as in a file that was not fetched whole.

    Raises:
        UserError: with the name of the first such tensor.
    """
    for name, weight in model.named_parameters():
        if not weight.is_floating_point() or weight.element_size() == 1 or weight.numel() == 0 or weight.is_meta:
            continue
        low, high = (float(each) for each in torch.aminmax(weight.detach()))
        if not (abs(low) < float("inf") and abs(high) < float("inf")):  # false of NaN, too
            shortened = "" if weight.dtype != torch.float16 else "; write dtype=float32, which holds larger numbers"
            raise UserError(f"its weight {name} is not finite (from {low:g} to {high:g}, {weight.dtype}){shortened}")
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    if embedding.weight.is_floating_point() and embedding.weight.numel() and not embedding.weight.any():
        raise UserError("its embeddings are all zero; its weights were not fetched or saved whole")


def check_loaded_keys(model: Any, missing: set[str], unexpected: set[str]) -> str | None:
    """Refuse weights that a model lacks, and layers that its config leaves out.

    Returns:
        a line on other weights that the model has no use for; None where it uses all.

    Raises:
        UserError: with one of them.
    """
    if missing:
        raise UserError(f"its files lack {len(missing)} of its weights, such as {min(missing)}")
    config = model.config.get_text_config()
    layers = config.num_hidden_layers + (getattr(config, "num_nextn_predict_layers", None) or 0)
    for name in sorted(unexpected):
        number = _LAYER.search(name)
        if number is not None and int(number[1]) >= layers:
            raise UserError(
                f"its files hold {name}, and its config.json says num_hidden_layers={config.num_hidden_layers}"
            )
    if not unexpected:
        return None
    return f"its files hold {len(unexpected)} weights that the model has no use for, such as {min(unexpected)}"


def mismatch(folder: Path, model: nn.Module) -> str | None:
    """The first tensor of a folder whose shape is not the model's; None where names do not show one.

    Args:
        model: may lie on the meta device.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, (_, held) in weight_shapes(folder).items():
        if name in shapes and shapes[name] != held:
            return f"{name} is {_by(held)} in its files and {_by(shapes[name])} by its config.json"
    return None


def check_dtypes(folder: Path, model: nn.Module) -> None:
    """Refuse whole numbers in place of weights, which a library casts without a word.

    Raises:
        UserError: with the name of the first such tensor.
    """
    held = weight_shapes(folder)
    for name, weight in model.named_parameters():
        dtype, _ = held.get(name, ("", ()))
        if dtype in _WHOLE_NUMBERS and weight.is_floating_point():
            raise UserError(f"its weight {name} is of whole numbers ({dtype}) in its files; expected floating point")


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
