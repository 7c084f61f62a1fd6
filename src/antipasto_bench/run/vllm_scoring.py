"""Answers by vLLM, through lm-eval's own model for it: on the weights as they stand, on a GPU."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..core.device import free_on_gpu
from ..core.errors import RunFailure, disk_is_full
from .generation_settings import only_needed_settings
from .tokens import encode_prompts, first_ids

# What vLLM, or transformers in it, says of a model that it has no code for.
_UNKNOWN_MODEL = ("model architectures", "model type", "unrecognized model")
VLLM_LONGEST = 4096  # tokens of prompt and answer: room for a model's whole context may be more than a GPU has


@contextmanager
def vllm_scorer(model: Any, tokenizer: Any) -> Iterator[Any]:
    """The model as lm-eval's evaluator takes it, generating by vLLM.

    Args:
        model: with its adapter merged.

    Raises:
        RunFailure: vLLM does not know the model.
        MemoryError: it has no room for the model, or for the keys and values of one text.
        RuntimeError: it could not begin for another reason.
    """
    from lm_eval.models.vllm_causallms import VLLM

    with TemporaryDirectory() as folder:
        plain = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" not in name}
        with only_needed_settings(model):
            model.save_pretrained(folder, state_dict=plain)
        tokenizer.save_pretrained(folder)
        free = free_on_gpu(model.device)
        share = 0.9 * free / torch.cuda.get_device_properties(model.device).total_memory
        longest = min(VLLM_LONGEST, model.config.get_text_config().max_position_embeddings)
        dtype = str(model.dtype).removeprefix("torch.")
        try:
            lm = VLLM(
                folder,
                dtype,
                batch_size="auto",
                max_model_len=longest,
                gpu_memory_utilization=round(share, 2),
                trust_remote_code=False,
                generation_config="vllm",  # no defaults from the model's generation_config.json
            )
        except (ValueError, OSError) as error:
            if disk_is_full(error):  # of the kind that a sweep knows
                raise
            raise _failure(error) from error
        lm.tok_encode = partial(encode_prompts, tokenizer, first_ids(tokenizer))  # vLLM is given ids, and reads no text
        try:
            yield lm
        finally:
            del lm
            gc.collect()
            torch.cuda.empty_cache()


def _failure(error: Exception) -> Exception:
    """What a failed start of vLLM means to a run: only a model that it does not know is the run's own fault."""
    text = " ".join(str(error).split())
    words = text.lower()
    if any(sign in words for sign in _UNKNOWN_MODEL):
        return RunFailure(f"vLLM: {text}")
    if "memory" in words or "kv cache" in words:  # it raises a ValueError for want of either
        return MemoryError(f"vLLM: {text}")
    return RuntimeError(f"vLLM: {text}")
