"""What an adapter costs, from shapes alone: no weight is needed, so a price is known before a GPU is rented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel
from torch import nn

import antipasto

from ..core.errors import UserError, first_line
from ..core.files import read_regular
from ..core.paths import EMBEDDED, benchmark_dir, locate
from ..spec.config import BASE, RunConfig
from .methods.registry import adapter_for
from .models import check_model_kind, checked_source, load_config
from .outlines import shipped_outline


class ShapeCosts(BaseModel):
    """Counts from shapes alone."""

    variant: str
    rank: int | Literal["full"] | None
    model: str
    trainable_params: int = 0
    added_macs_per_token: int | None = 0  # of the matrix products of one token's forward
    adapter_bytes: int = 0  # of the tensors in a saved file
    frozen_bytes: int = 0  # of what is added beside them in memory
    targets: int = 0  # adapted layers
    base_params: int
    base_macs_per_token: int  # of its linear layers


def cost_of_shapes(run: RunConfig) -> ShapeCosts:
    """Parameters, multiply-accumulates and bytes of a run's adapter, on its model's shapes.

    Raises:
        UserError: the model's shapes are not known here, or the variant does not fit them.
    """
    model = meta_model(run)
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    costs = ShapeCosts(
        variant=run.variant,
        rank=run.rank,
        model=run.model,
        base_params=sum(p.numel() for p in model.parameters()),
        base_macs_per_token=sum(module.weight.numel() for module in linears),
    )
    if run.variant == BASE:
        return costs
    try:
        counts = adapter_for(run, model).shape_counts(run)
    except antipasto.AdapterError as error:
        raise UserError(f"{run.variant}: {error}") from error
    costs.trainable_params, costs.added_macs_per_token = counts.parameters, counts.macs
    costs.adapter_bytes, costs.frozen_bytes, costs.targets = counts.saved_bytes, counts.frozen_bytes, counts.targets
    return costs


def _configuration(run: RunConfig) -> dict[str, Any] | None:
    """A model's configuration as its file has it; None where it is not on this machine, or cannot be read."""
    place = EMBEDDED.get(run.model) or locate(run.model)
    try:
        values = json.loads(read_regular(place / "config.json" if place else _shipped(run)).decode())
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _shipped(run: RunConfig) -> Path:
    return benchmark_dir() / "architectures" / f"{run.model.replace('/', '--')}.json"


def meta_model(run: RunConfig) -> nn.Module:
    """The run's model with shapes and without weights.

    Its configuration comes from a model folder here, else from benchmark/architectures, else from the hub.

    Raises:
        UserError: none of them has it.
    """
    if (folder := EMBEDDED.get(run.model) or locate(run.model)) is not None and folder.is_dir():
        checked_source(run)  # a folder that brings code is refused, whatever its shapes
    values = _configuration(run)
    outline = None if values is None or run.method.needs_whole_model else shipped_outline(values)
    if outline is not None:
        return outline.build(getattr(torch, run.dtype))
    from transformers import AutoConfig, AutoModelForCausalLM

    shipped = _shipped(run)
    try:
        if locate(run.model) is None and shipped.is_file():
            values = json.loads(shipped.read_text(encoding="utf-8"))
            config = AutoConfig.for_model(values.pop("model_type"), **values)
        else:
            config = load_config(run)
        check_model_kind(run, config)
        with torch.device("meta"):
            model: nn.Module = AutoModelForCausalLM.from_config(
                config, dtype=getattr(torch, run.dtype), trust_remote_code=run.trust_remote_code
            )
            return model
    except UserError:
        raise
    except Exception as error:  # offline, gated, absent, not a model: one way out
        reason = first_line(error)
        raise UserError(
            f"model={run.model}: its shapes are not known here ({reason}); go online once, or give model=PATH of a "
            "model folder (its config.json is enough)"
        ) from error
