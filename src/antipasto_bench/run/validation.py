"""Held-out loss while a run trains: that of the validation questions, as it is measured after training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import torch

from ..core.errors import UserError
from ..spec.config import RunConfig
from ..store.items import weighted_token_loss
from .heldout_loss import encode_references, losses_of_examples, references_of_valid
from .methods.registry import adapter_on
from .process_group import ALONE, ProcessGroup

MOST_POINTS = 200  # of a curve: a row of the table holds it


def validation_loss(
    run: RunConfig, model: Any, tokenizer: Any, valid: pl.DataFrame | None, group: ProcessGroup = ALONE
) -> Callable[[], float | None] | None:
    """What measures the loss of the first `run.valid_every_limit` validation questions with the model as it stands.

    Args:
        model: as it was loaded, whether its adapter is attached now or later.
        valid: the validation questions, with the responses of rows that were held out.
        group: of processes that share the batches out.

    Returns:
        a function that gives nats a completion token, None where they are not finite; it changes neither the model nor
        a generator. None where `run.valid_every` is not set.

    Raises:
        UserError: there are no such questions, or more measurements than a row holds.
    """
    if run.valid_every is None:
        return None
    if (points := -(-run.steps // run.valid_every)) > MOST_POINTS:
        least = -(-run.steps // MOST_POINTS)
        raise UserError(
            f"valid_every={run.valid_every}: {points} measurements, and a run records {MOST_POINTS} at most; write "
            f"valid_every={least} or more"
        )
    rows = references_of_valid(valid)
    if rows is None or rows.is_empty():
        raise UserError(
            f"valid_every={run.valid_every}: there are no validation questions with a reference solution; leave it "
            "out, or set eval.valid"
        )
    examples = encode_references(model, tokenizer, rows.head(run.valid_every_limit or len(rows)))

    def measure() -> float | None:
        gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
        with torch.random.fork_rng(devices=gpus):
            adapter = adapter_on(model)
            called = model if adapter is None else adapter.model
            nats, tokens = losses_of_examples(called, tokenizer, examples, group)
        return weighted_token_loss(nats, tokens)[0] if np.isfinite(nats).all() else None

    return measure
