"""One pass over the calibration data for every variant that needs it: moments are summed, no activation is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .attachment import input_of
from .config import AdapterError
from .decompositions import false_ones, is_finite
from .layer import Layer
from .quantised import evaluating
from .variant import Calibrator


@dataclass(frozen=True)
class Contrast:
    """Calibration data of two sides: batches that show what is wanted, and batches that show its opposite."""

    positive: Iterable[Any]
    negative: Iterable[Any]


@torch.no_grad()
def calibrate(model: nn.Module, layers: Mapping[str, Layer], calibrators: Mapping[str, Calibrator], data: Any) -> None:
    """Feed the inputs of each layer, over non-padding tokens, to its calibrator.

    Args:
        model: run in eval mode, on the device it is on; every module's own mode is restored.
        layers: the targets by name.
        calibrators: of the targets, by the same names.
        data: an iterable of batches: a dict of keyword arguments (tokens with `attention_mask` 0 are left
            out), a tuple or list of positional arguments, or a tensor.

    Raises:
        AdapterError: no batch, a layer whose input does not line up with the mask, or one whose input holds NaN or inf.
    """
    mask: Tensor | None = None
    finite: dict[str, Tensor] = {}  # a flag of each layer, read once at the end: reading it waits for a GPU

    if isinstance(data, Mapping | Tensor):
        raise AdapterError(f"calibration data are a list of batches, got one {type(data).__name__}; write [batch]")

    def hook(name: str) -> Any:
        def update(layer: Layer, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            x = input_of(args, kwargs)
            flat = x.reshape(-1, x.shape[-1])  # (tokens, d_in)
            if mask is not None and not mask.all():  # without padding, a layer may see any tokens: an expert does
                if mask.numel() != len(flat):
                    raise AdapterError(
                        f"{name}: {len(flat)} token inputs but an attention_mask of {mask.numel()}; leave the layer out"
                    )
                flat = flat[mask.reshape(-1).to(flat.device).bool()]
            if len(flat) and not flat.is_meta:
                finite[name] = is_finite(flat) & finite.get(name, True)
            calibrators[name].update(flat)

        return update

    handles = [layer.register_forward_pre_hook(hook(name), with_kwargs=True) for name, layer in layers.items()]
    try:
        with evaluating(model):
            for args, kwargs in on_device(data, model):
                mask = kwargs.get("attention_mask")
                model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    broken = false_ones(finite)
    if broken:
        raise AdapterError(
            f"{broken[0]}: calibration gave it inputs with NaN or inf; check the base model on these data, and load it "
            "in bfloat16 or float32 where it is in float16, which overflows"
        )


def require_tokens(name: str, tokens: int, minimum: int) -> None:
    """Raise AdapterError where a layer saw fewer calibration tokens than its variant needs."""
    if tokens < minimum:
        raise AdapterError(f"{name}: {tokens} calibration tokens; give at least {minimum} that are not padding")


def on_device(data: Iterable[Any], model: nn.Module) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Positional and keyword arguments of each batch (as `calibrate` takes them), on the model's first device."""
    device = next(model.parameters()).device

    def moved(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    for batch in data:
        if isinstance(batch, Mapping):
            yield (), {name: moved(value) for name, value in batch.items()}
        else:
            yield tuple(map(moved, batch if isinstance(batch, list | tuple) else [batch])), {}
