"""What an adapter costs, from shapes alone: no weight is needed, so a price is known before a GPU is rented."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

import antipasto

from ..core.errors import UserError
from ..core.paths import EMBEDDED, benchmark_dir, locate
from ..spec.config import BASE, RunConfig


def cost_of_shapes(run: RunConfig) -> dict[str, Any]:
    """Parameters, multiply-accumulates and bytes of a run's adapter, on its model's shapes.

    Returns:
        variant and rank; `trainable_params`; `added_macs_per_token`, of the matrix products of one token's forward;
        `adapter_bytes`, of the tensors in a saved file; `frozen_bytes`, of what is added beside them in memory;
        `targets`, the number of adapted layers; and the base's own `base_params` and `base_macs_per_token`, the latter
        of its linear layers.

    Raises:
        UserError: the model's shapes are not known here, or the variant does not fit them.
    """
    model = meta_model(run)
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    found: dict[str, Any] = {
        "variant": run.variant,
        "rank": run.rank,
        "model": run.model,
        "trainable_params": 0,
        "added_macs_per_token": 0,
        "adapter_bytes": 0,
        "frozen_bytes": 0,
        "targets": 0,
        "base_params": sum(p.numel() for p in model.parameters()),
        "base_macs_per_token": sum(module.weight.numel() for module in linears),
    }
    if run.variant == BASE:
        return found
    cfg = run.adapter_config
    variant = antipasto.REGISTRY[cfg.variant]
    try:
        targets = antipasto.find_targets(model, cfg)
        for name, layer in targets.items():
            try:
                variant.check(layer.in_features, layer.out_features, cfg)
            except antipasto.AdapterError as error:
                raise UserError(f"{run.variant}: {name}: {error}") from error
    except antipasto.AdapterError as error:
        raise UserError(f"{run.variant}: {error}") from error
    dtype = getattr(torch, run.dtype)
    for layer in targets.values():
        d_in, d_out = int(layer.in_features), int(layer.out_features)
        scratch = nn.Linear(d_in, d_out, bias=layer.bias is not None, device="meta", dtype=dtype)
        antipasto.add_tensors(scratch, variant.param_specs(d_in, d_out, cfg), dtype)
        trained = [p for name, p in scratch.named_parameters() if name.startswith("lora_")]
        frozen = [b for name, b in scratch.named_buffers() if name.startswith("lora_")]
        found["trainable_params"] += sum(p.numel() for p in trained)
        found["added_macs_per_token"] += variant.added_macs(d_in, d_out, cfg)
        found["adapter_bytes"] += sum(t.nbytes for t in variant.saved(scratch, cfg).values())
        found["frozen_bytes"] += sum(b.nbytes for b in frozen)
    return found | {"targets": len(targets)}


def meta_model(run: RunConfig) -> nn.Module:
    """The run's model with shapes and without weights.

    Its configuration comes from a model folder here, else from benchmark/architectures, else from the hub.

    Raises:
        UserError: none of them has it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    place = EMBEDDED.get(run.model) or locate(run.model)
    shipped = benchmark_dir() / "architectures" / f"{run.model.replace('/', '--')}.json"
    try:
        if place is None and shipped.is_file():
            values = json.loads(shipped.read_text(encoding="utf-8"))
            config = AutoConfig.for_model(values.pop("model_type"), **values)
        else:
            config = AutoConfig.from_pretrained(str(place or run.model), revision=run.revision)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, run.dtype))
    except Exception as error:  # offline, gated, absent, not a model: one way out
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise UserError(
            f"model={run.model}: its shapes are not known here ({reason}); go online once, or give model=PATH of a "
            "model folder (its config.json is enough)"
        ) from error
