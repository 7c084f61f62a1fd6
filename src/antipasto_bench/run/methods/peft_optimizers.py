"""Optimizers made for adapters, through PEFT's own constructors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from antipasto.config import AdapterError

from ...spec.config import RunConfig
from .adapter import adamw

if TYPE_CHECKING:
    from .peft import PeftAdapter


def optimizer_of(run: RunConfig, adapter: PeftAdapter) -> torch.optim.Optimizer:
    """The run's optimizer over the adapter's parameters.

    Raises:
        AdapterError: the adapter has nothing that it is made for.
    """
    parameters = list(adapter.trainable_parameters().values())
    if run.optimizer == "adamw":
        return adamw(run, parameters)
    common: dict[str, Any] = {"lr": run.lr, "weight_decay": run.weight_decay}
    try:
        if run.optimizer == "lora-fa":
            from peft.optimizers import create_lorafa_optimizer

            config = adapter.peft.peft_config["default"]
            return create_lorafa_optimizer(adapter.peft, r=config.r, lora_alpha=config.lora_alpha, **common)
        if run.optimizer == "riemannian":
            from peft.optimizers import create_riemannian_optimizer

            return create_riemannian_optimizer(adapter.peft, torch.optim.AdamW, reg=run.optimizer_reg, **common)
        from peft.optimizers import create_loraplus_optimizer

        decay = common.pop("weight_decay")
        ratio = getattr(run, "lr_ratio", 1.0)
        return create_loraplus_optimizer(
            adapter.peft, torch.optim.AdamW, loraplus_lr_ratio=ratio, loraplus_weight_decay=decay, **common
        )
    except ValueError as error:
        raise AdapterError(f"optimizer={run.optimizer}: {error}") from error
