"""What an adapter costs, from shapes alone: no weight is needed, so a price is known before a GPU is rented."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

import antipasto

from .config import BASE, EMBEDDED, RunConfig
from .errors import UserError
from .paths import benchmark_dir, locate


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


def card(row: Mapping[str, Any]) -> str:
    """Costs for people: a line from shapes, and below it one of what was measured, where it was."""
    name = row["variant"] + (f" r={row['rank']}" if row["rank"] else "")
    macs, base = row["added_macs_per_token"], row["base_macs_per_token"]
    lines = [
        f"{name:24} {row['trainable_params']:>13,} parameters  {macs / 1e6:8.2f}M MACs/token "
        f"(+{100 * macs / base:.1f} %)  {row['adapter_bytes'] / 1e6:8.2f} MB on disk  {row['targets']} layers"
    ]
    if row.get("base_forward_ms") is not None:
        lines.append(f"    {measured_line(row)}")
    return "\n".join(lines)


def measured_line(row: Mapping[str, Any]) -> str:
    """What was measured of an adapter, in one line."""
    if row["base_forward_ms"] is None:
        return "not measured"
    told = [f"{k} {ms} ms" for k in ("forward", "backward") if (ms := against_base(row, f"{k}_ms"))]
    told += [f"peak {row['peak_bytes'] / 1e6:,.0f} MB"] if row["peak_bytes"] is not None else []
    told += [f"keeps {mb} MB for backward"] if (mb := against_base(row, "saved_bytes", 1e-6)) else []
    if row["attach_cold_s"] is not None:
        told += [f"attach {row['attach_cold_s']:.2f} s cold, {row['attach_warm_s']:.2f} s warm"]
    told += [f"merge {row['merge_s']:.3f} s"] if row["merge_s"] is not None else []
    told += [f"generates {against_base(row, 'generated_tokens_per_s')} tokens/s"]
    return f"{row['priced_tokens']:,} tokens: {', '.join(told)}"


def against_base(row: Mapping[str, Any], name: str, scale: float = 1) -> str:
    """A measured cost with its ratio to the base's, as in `41.2 (1.21x)`; empty where the variant has no such cost."""
    base = row[f"base_{name}"]
    own = base if row["variant"] == BASE else row[name]
    if own is None:
        return ""
    if row["variant"] == BASE:
        return f"{own * scale:,.1f}"
    return f"{own * scale:,.1f} ({own / base:.2f}x)" if base else f"{own * scale:,.1f}"


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
