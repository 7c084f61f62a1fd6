"""Calls into PEFT that a run makes beside those of its models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


def orthogonality(tuner: Any) -> Tensor:
    """AdaLoRA's penalty, by PEFT's own forward pass over a model that gives no loss of its own."""
    device = next(tuner.model.parameters()).device
    outputs = SimpleNamespace(loss=torch.zeros((), device=device))
    silent = SimpleNamespace(forward=lambda: outputs, named_parameters=tuner.model.named_parameters)
    stand_in = SimpleNamespace(
        model=silent, peft_config=tuner.peft_config, trainable_adapter_name=tuner.trainable_adapter_name
    )
    loss: Tensor = type(tuner).forward(stand_in).loss
    return loss


def quietly(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function without its warnings: PEFT's at each token, that it makes positions itself."""

    def call(*arguments: Any, **options: Any) -> Any:
        with quiet_peft():
            return function(*arguments, **options)

    return call


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without PEFT's advice on what a user of it may have meant, and its bars."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
