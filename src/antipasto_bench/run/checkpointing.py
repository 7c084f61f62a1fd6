"""Gradient checkpointing: blocks keep their inputs alone, and compute the rest again in the backward pass.

By the model's own switch, without reentry: then an adapter gets its gradients though nothing before it asks for any
(Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016, arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

from torch import nn

from ..core.errors import UserError, first_line
from ..spec.config import RunConfig


def check_checkpointing(run: RunConfig, model: Any) -> None:
    """Refuse `checkpointing=true` where it cannot be had; the model stays as it is.

    Raises:
        UserError: the model has no support for it, with the reason of its own code; or the run is compiled.
    """
    if run.checkpointing and run.compile:  # dynamo traces a checkpoint whole, and gives up on adapters in it
        raise UserError(
            "checkpointing=true compile=true: torch.compile takes no adapter in a checkpoint; leave one out"
        )
    with checkpointed(run, model):
        pass


@contextmanager
def checkpointed(run: RunConfig, model: Any) -> Iterator[None]:
    """Train the blocks of a model with checkpoints for the length of a `with` block, where the run wants it.

    The last block has none: its activations would be computed again as the first thing of the backward pass, and its
    MLP is computed for labelled tokens alone (`model_probes.last_mlp`), which a second call would not know.

    Raises:
        UserError: the model has no support for it.
    """
    if not run.checkpointing:
        yield
        return
    try:
        if "value" in signature(model._set_gradient_checkpointing).parameters:
            raise ValueError("its code has the switch of old versions, which reenters")
        model.activation_checkpointing_enable({"use_reentrant": False})
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"checkpointing=true: {run.model} has no support for it ({first_line(error)}); leave it out"
        ) from error
    try:
        model.disable_input_require_grads()  # which it switched on: gradients would go down to the embeddings
        _keep_whole(model)
        yield
    finally:
        model.activation_checkpointing_disable()


def _keep_whole(model: Any) -> None:
    """Take the last block out, where each block has a switch of its own."""
    layers = getattr(model.base_model, "layers", None)
    last: Any = layers[-1] if isinstance(layers, nn.ModuleList) else None
    if getattr(last, "gradient_checkpointing", False):
        last.gradient_checkpointing = False
