"""The base model and its tokenizer: embedded, from a folder, or from the hub."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
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


def load_model(run: RunConfig) -> tuple[PreTrainedModel, Any]:
    """The model in the run's dtype, on its device, and a tokenizer that can pad.

    Raises:
        UserError: neither a folder here nor a model that the hub (or its cache) gives.
    """
    device = pick_device(run.device)
    place = EMBEDDED.get(run.model) or locate(run.model)
    source = str(place or run.model)
    options: dict[str, Any] = {} if place else {"revision": run.revision}
    if place is None and (source.count("/") != 1 or source.startswith((".", "/", "~"))):
        raise UserError(f"model={run.model}: no such folder, and not a hub id (org/name)")
    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model, loaded = AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, run.dtype), output_loading_info=True, **options
        )
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
    return model.to(device).eval(), tokenizer
