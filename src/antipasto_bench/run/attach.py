"""Attach a run's untrained adapter, and take the time."""

from __future__ import annotations

import time
from typing import Any

from torch import nn

import antipasto

from ..core.device import synchronise
from ..core.errors import UserError
from ..spec.config import RunConfig
from .examples import Example
from .methods.registry import adapter_for


def attach(run: RunConfig, model: nn.Module, tokenizer: Any, examples: list[Example]) -> float:
    """Attach the run's untrained adapter. Variants that need data are calibrated on the first examples.

    Returns:
        seconds that it took, calibration included.

    Raises:
        UserError: the adapter does not fit the model or the data.
    """
    adapter = adapter_for(run, model)
    synchronise(model)
    start = time.perf_counter()
    try:
        adapter.attach(run, tokenizer, examples)
    except antipasto.AdapterError as error:
        raise UserError(f"{run.variant}: {error}") from error
    synchronise(model)
    return time.perf_counter() - start
