"""Optimizers made for adapters, through PEFT's own constructors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from antipasto.config import AdapterError

from ...core.json_types import Json
from ...spec.config import RunConfig
from .adapter import adamw


def optimizer_of(run: RunConfig, model: Any, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """The run's optimizer over an adapter's parameters.

    Args:
        model: PEFT's.
        parameters: that are trained.

    Raises:
        AdapterError: the adapter has nothing that it is made for.
    """
    if run.optimizer == "adamw":
        return adamw(run, parameters)
    common: Json = {"lr": run.lr, "weight_decay": run.weight_decay}
    try:
        if run.optimizer == "lora-fa":
            from peft.optimizers import create_lorafa_optimizer

            config = model.peft_config["default"]
            return create_lorafa_optimizer(model, r=config.r, lora_alpha=config.lora_alpha, **common)
        if run.optimizer == "riemannian":
            from peft.optimizers import create_riemannian_optimizer

            return create_riemannian_optimizer(model, torch.optim.AdamW, reg=run.optimizer_reg, **common)
        from peft.optimizers import create_loraplus_optimizer

        decay = common.pop("weight_decay")
        ratio = run.lr_ratio
        return create_loraplus_optimizer(
            model, torch.optim.AdamW, loraplus_lr_ratio=ratio, loraplus_weight_decay=decay, **common
        )
    except ValueError as error:
        raise AdapterError(f"optimizer={run.optimizer}: {error}") from error
