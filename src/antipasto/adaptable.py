"""Whether every target of a config can be adapted as it is, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from .config import AdapterConfig, AdapterError
from .decompositions import non_finite
from .layer import Layer, bias_of, lora_tensors
from .quantised import quantisation, repacked, weight_of
from .variant import Variant


def require_adaptable(model: nn.Module, targets: dict[str, Layer], variant: Variant[Any], cfg: AdapterConfig) -> None:
    """Raise AdapterError where a target cannot be adapted."""
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for name, layer in targets.items():
        try:
            variant.check(layer.in_features, layer.out_features, cfg)
        except AdapterError as error:
            raise AdapterError(f"{name}: {error}") from None
        bits = quantisation(layer)
        if bits and not variant.quantised:
            raise AdapterError(
                f"{name} is quantised ({bits}), and {cfg.variant} changes the weight itself; load the base model "
                "unquantised, or choose another variant"
            )
        if bits and repacked(layer):
            raise AdapterError(
                f"{name} was called in eval mode, and bitsandbytes repacked its weight for that alone; attach before "
                "the first evaluation, on a freshly loaded model"
            )
        if id(layer.weight) not in owners:
            raise AdapterError(f"{name}: its weight is not a parameter of its own (weight_norm?); leave the layer out")
        if not bits and not layer.weight.is_floating_point():
            raise AdapterError(f"{name}: weights of {layer.weight.dtype} are no bitsandbytes layer's; leave it out")
        if lora_tensors(layer):
            raise AdapterError(f"{name} has an adapter already, attached to a part of this model; detach that first")
        others = [owner for owner in owners[id(layer.weight)] if owner != f"{name}.weight".lstrip(".")]
        if others:
            raise AdapterError(
                f"{name} shares its weight with {others[0]}; adapting one would change both, leave it out"
            )
    broken = non_finite(_own_tensors(targets))
    if broken:
        raise AdapterError(
            f"{broken[0]} holds NaN or inf{f', and {len(broken) - 1} more' if broken[1:] else ''}; load the base model "
            "again, from a whole file, or leave the layer out"
        )


def _own_tensors(targets: dict[str, Layer]) -> Iterator[tuple[str, Tensor]]:
    """Weight and bias of each target by name; quantised weights dequantised, one after the other."""
    for name, layer in targets.items():
        yield f"{name}.weight", weight_of(layer)
        bias = bias_of(layer)
        if bias is not None:
            yield f"{name}.bias", bias
