"""Attach a run's untrained adapter: its random initialisation from the run's seed, its calibration data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from inspect import signature
from typing import Any

import torch
from torch import Generator, nn

import antipasto
from antipasto.targets import find_targets

from ..core.device import synchronise
from ..core.errors import UserError
from ..spec.config import RunConfig
from .examples import Example, collate, with_wrong_numbers


def attach(run: RunConfig, model: nn.Module, tokenizer: Any, examples: list[Example]) -> float:
    """Attach the run's untrained adapter. Variants that need data are calibrated on the first examples.

    Returns:
        seconds that it took, calibration included.

    Raises:
        UserError: the adapter does not fit the model or the data.
    """
    init = Generator().manual_seed(run.seed + 2**32)  # not the generator of the examples, which all variants share
    cfg = run.adapter_config
    variant = antipasto.REGISTRY[cfg.variant]
    calibration: Any = None
    if variant.needs_data(cfg):
        calibration_examples = examples[: run.data.calibration]
        calibration = _batches(run, calibration_examples, tokenizer, model)
        if variant.contrastive:
            wrong = with_wrong_numbers(calibration_examples, tokenizer, run.seed)
            calibration = antipasto.Contrast(calibration, _batches(run, wrong, tokenizer, model))
    synchronise(model)
    start = time.perf_counter()
    try:
        antipasto.attach(model, cfg, calibration, generator=init, dtype=getattr(torch, run.adapter_dtype))
    except antipasto.AdapterError as error:
        raise UserError(f"{run.variant}: {error}") from error
    synchronise(model)
    return time.perf_counter() - start


def _batches(run: RunConfig, examples: list[Example], tokenizer: Any, model: Any) -> Iterator[dict[str, Any]]:
    options: dict[str, Any] = {"use_cache": False}  # nothing is generated
    head = model.get_output_embeddings()
    if "logits_to_keep" in signature(model.forward).parameters:
        # Logits of all tokens may take more memory than all else, and only an adapter on their layer needs them.
        options["logits_to_keep"] = 0 if head in find_targets(model, run.adapter_config).values() else 1
    for start in range(0, len(examples), run.batch_size):
        batch = collate(examples[start : start + run.batch_size], tokenizer.pad_token_id)
        yield {key: value for key, value in batch.items() if key != "labels"} | options
