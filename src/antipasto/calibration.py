"""One walk over calibration data for every variant that needs it: moments are streamed, no activation is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .config import AdapterError
from .variant import Calibrator


@torch.no_grad()
def calibrate(model: nn.Module, layers: Mapping[str, nn.Module], gather: Mapping[str, Calibrator], data: Any) -> None:
    """Feed the inputs of each layer, over non-padding tokens, to its calibrator.

    Args:
        model: run in eval mode, on the device it is on; every module's own mode is restored.
        layers: the targets by name.
        gather: the calibrator of each target, by the same names.
        data: an iterable of batches: a dict of keyword arguments (tokens with `attention_mask` 0 are left
            out), a tuple or list of positional arguments, or a tensor.

    Raises:
        AdapterError: no batch, or a layer whose input does not line up with the mask.
    """
    mask: Tensor | None = None

    def hook(name: str) -> Any:
        def update(layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            x = args[0] if args else kwargs["input"]
            flat = x.reshape(-1, x.shape[-1])  # (tokens, d_in)
            if mask is not None:
                if mask.numel() != len(flat):
                    raise AdapterError(
                        f"{name}: {len(flat)} token inputs but an attention_mask of {mask.numel()}; leave the layer out"
                    )
                flat = flat[mask.reshape(-1).to(flat.device).bool()]
            gather[name].update(flat)

        return update

    modes = {module: module.training for module in model.modules()}
    handles = [layer.register_forward_pre_hook(hook(name), with_kwargs=True) for name, layer in layers.items()]
    try:
        model.eval()
        for args, kwargs in map(_arguments, _on_device(data, _device(model))):
            mask = kwargs.get("attention_mask")
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training


def require_tokens(name: str, tokens: int, r: int) -> None:
    """Raise AdapterError where fewer tokens than directions were seen."""
    if tokens < r:
        raise AdapterError(f"{name}: {tokens} calibration tokens for r={r}; give at least r non-padding tokens")


def _arguments(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(batch, Mapping):
        return (), dict(batch)
    return (tuple(batch) if isinstance(batch, list | tuple) else (batch,)), {}


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _on_device(data: Iterable[Any], device: torch.device) -> Iterable[Any]:
    for batch in data:
        if isinstance(batch, Mapping):
            yield {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        elif isinstance(batch, list | tuple):
            yield [v.to(device) if isinstance(v, Tensor) else v for v in batch]
        else:
            yield batch.to(device)
