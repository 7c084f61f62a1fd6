"""Write an adapter as a PEFT LoRA folder, which every tool that reads LoRA reads.

Where a variant's change of W is a thin product B A, that product is a LoRA of scale 1. For the frozen-basis family
A = P and B = U (core - diag S). PiSSA's change is relative to W_res, not to the base model's W = W_res + B0 A0: so
B0 A0 is subtracted, and the rank doubles. PEFT itself is not needed to write the folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from .attachment import attachment
from .config import AdapterError
from .files import folder_atomically
from .tensor_bytes import safetensors_bytes
from .variant import Factors


@torch.no_grad()
def change_as_product(model: nn.Module) -> dict[str, Factors]:
    """The difference of each target's weight to the base model's, as float32 factors: A (k, d_in), B (d_out, k).

    Raises:
        AdapterError: there is no adapter, or the difference is no such product.
    """
    state = attachment(model)
    factors = {}
    for name, layer in state.targets.items():
        thin = state.variant.factors(layer, state.cfg, torch.float32)
        if thin is None:
            raise AdapterError(
                f"{state.cfg.variant} does not change W by a product of rank r, so it cannot be written as a LoRA; "
                "write the merged model instead"
            )
        start = state.extracted_factors.get(name)
        if start is not None:
            thin = Factors(A=torch.cat([thin.A, start.A.to(thin.A)]), B=torch.cat([thin.B, -start.B.to(thin.B)], 1))
        factors[name] = thin
    return factors


def save_peft(
    model: nn.Module, folder: str | os.PathLike[str], *, base_model: str, revision: str | None = None
) -> Path:
    """Write the attached adapter as a folder that `peft.PeftModel.from_pretrained(base, folder)` loads.

    Args:
        folder: must not exist yet, or be empty; it appears whole or not at all.
        base_model: what PEFT should name as the base: a hub id, or a path.
        revision: of the base model on the hub.

    Raises:
        AdapterError: there is no adapter, it is not a low-rank change of W, or the folder exists and is not empty.
        OSError: it could not be written.
    """
    factors = change_as_product(model)
    ranks = {name: len(thin.A) for name, thin in factors.items()}
    common = max(ranks.values())
    # PEFT reads these keys as regexes over module paths.
    pattern = {re.escape(name): rank for name, rank in ranks.items() if rank != common}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "revision": revision,
        "inference_mode": True,
        "r": common,
        "lora_alpha": common,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,  # alpha = r everywhere: scale 1
        "target_modules": list(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
    }
    tensors: dict[str, Tensor] = {}
    for name, thin in factors.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = thin.A
        tensors[f"base_model.model.{name}.lora_B.weight"] = thin.B
    with new_folder(folder) as partial:
        (partial / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (partial / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors, {"format": "pt"}))
    return Path(folder).resolve()


@contextmanager
def new_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Create a folder in one step: yields a temporary folder to fill, which is renamed to `folder` at the end.

    On an error it is removed, and `folder` is as it was before.

    Raises:
        AdapterError: `folder` exists and is not an empty folder.
    """
    place = Path(folder).resolve()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise AdapterError(f"{place} exists and is not an empty folder; choose another, or remove it")
    with folder_atomically(place, replace=False) as partial:
        yield partial
