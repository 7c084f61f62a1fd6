"""The base model and its tokenizer: embedded, from a folder, or from the hub."""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from .config import EMBEDDED, RunConfig
from .errors import UserError
from .paths import locate


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU.

    Raises:
        UserError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name}: not available here; write device=cpu or device=auto") from error
    return device


def model_source(run: RunConfig) -> str:
    """What Hugging Face's libraries call the model: a folder here, or a hub id."""
    return str(EMBEDDED.get(run.model) or locate(run.model) or run.model)


def load_model(run: RunConfig) -> tuple[PreTrainedModel, Any]:
    """The model in the run's dtype, on its device, and a tokenizer that can pad.

    Raises:
        UserError: neither a folder here nor a model that the hub (or its cache) gives.
    """
    device = pick_device(run.device)
    place = EMBEDDED.get(run.model) or locate(run.model)
    source = model_source(run)
    options: dict[str, Any] = {} if place else {"revision": run.revision}
    if place is None and (source.count("/") != 1 or source.startswith((".", "/", "~"))):
        raise UserError(f"model={run.model}: no such folder, and not a hub id (org/name)")
    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model, loaded = AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, run.dtype), output_loading_info=True, **options, **_quantised(run, device)
        )
    except UserError:
        raise
    except Exception as error:  # one way out for every reason: offline, gated, absent, not a model
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        where = "cannot be loaded" if place else "not in the cache, and the hub did not give it"
        advice = "" if place else "; go online once to fill the cache, or give model=PATH of a saved model folder"
        raise UserError(f"model={run.model}: {where} ({reason}){advice}") from error
    if loaded["missing_keys"]:
        lacking = sorted(loaded["missing_keys"])
        raise UserError(f"model={run.model}: its files lack {len(lacking)} of its weights, such as {lacking[0]}")
    if tokenizer.eos_token_id is None:
        raise UserError(f"model={run.model}: its tokenizer has no end token, so completions could not end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return (model.to(device) if run.quant == "none" else model).eval(), tokenizer


def _quantised(run: RunConfig, device: torch.device) -> dict[str, Any]:
    """The options that quantise while loading; bitsandbytes is asked for here and nowhere else."""
    if run.quant == "none":
        return {}
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"quant={run.quant} needs bitsandbytes; install it with: .venv/bin/pip install -c requirements.lock "
            "-e '.[quant]'"
        ) from error
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # advice on optional kernels
    dtype = getattr(torch, run.dtype)
    if run.quant == "4bit":
        how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    else:
        how = BitsAndBytesConfig(load_in_8bit=True)
    return {"quantization_config": how, "device_map": {"": device}}
