"""Which layers a config adapts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

from torch import nn

from .config import AdapterConfig, AdapterError
from .layer import Layer


def is_linear(module: nn.Module) -> bool:
    """Whether a module acts like nn.Linear; also true of quantised layers, which are not nn.Linear."""
    return all(hasattr(module, name) for name in ("in_features", "out_features", "weight"))


def find_targets(model: nn.Module, cfg: AdapterConfig) -> dict[str, Layer]:
    """The layers that a config names, by dotted path, in the model's order.

    Raises:
        AdapterError: nothing matched; the message lists the names of the model's linear layers.
    """
    linears = {name: module for name, module in model.named_modules() if is_linear(module)}
    targets = {
        name: cast(Layer, module)
        for name, module in linears.items()
        if _matches(name, cfg.target_names)
        and not _matches(name, cfg.exclude_names)
        and (cfg.layers is None or _block_index(name) in cfg.layers)
    }
    if not targets:
        names = sorted({name.rpartition(".")[2] for name in linears})
        where = "" if cfg.layers is None else f" in layers {list(cfg.layers)}"
        raise AdapterError(
            f"no linear layer matches target_names {list(cfg.target_names)}{where}; this model has: {', '.join(names)}"
        )
    return targets


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(rf"(?:.*\.)?(?:{pattern})", path) for pattern in patterns)


def _block_index(path: str) -> int | None:
    number = re.search(r"(?:^|\.)(\d+)(?:\.|$)", path)
    return int(number[1]) if number else None
