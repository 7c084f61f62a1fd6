"""Attach an adapter to a model, switch it off, fold it into the weights, and take it away again.

The base model's weights are never written. What is added lives on the target layers as `lora_*` parameters and
buffers, so it moves, saves and counts with the model; a forward hook on each target computes the new output.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from . import variants as _variants  # noqa: F401  registers every variant
from .calibration import calibrate, require_tokens
from .config import AdapterConfig, AdapterError
from .targets import find_targets
from .variant import REGISTRY, Calibrator, Layer, ParamSpec, Variant, at_least_float32

_STATE = "_antipasto"


@dataclass
class Attachment:
    """What `attach` did to a model, and how to undo it."""

    cfg: AdapterConfig
    variant: Variant
    targets: dict[str, Layer]
    required_grad: list[nn.Parameter]  # the base parameters that were trainable before
    handles: list[Any] = field(default_factory=list)
    enabled: bool = True
    base_weights: dict[str, Tensor] = field(default_factory=dict)  # while merged

    @property
    def merged(self) -> bool:
        return bool(self.base_weights)

    def hook(self, layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], y: Tensor) -> Tensor:
        if not self.enabled or self.merged:
            return y
        return self.variant.forward(layer, self.cfg, args[0] if args else kwargs["input"], y)


def attachment(model: nn.Module) -> Attachment:
    """The adapter on a model.

    Raises:
        AdapterError: there is none.
    """
    state = getattr(model, _STATE, None)
    if state is None:
        raise AdapterError("no adapter is attached to this model; call attach(model, config) first")
    return state


def attach(
    model: nn.Module,
    cfg: AdapterConfig,
    calibration_data: Any = None,
    *,
    generator: torch.Generator | None = None,
    saved: dict[str, dict[str, Tensor]] | None = None,
) -> nn.Module:
    """Add a variant's tensors to every target of a model, freeze the rest, and hook the targets.

    Args:
        model: any module with linear layers; changed in place.
        cfg: which variant, and its settings.
        calibration_data: batches for the variants that look at data (see `calibrate`).
        generator: a CPU generator that the random initialisation is drawn from, whatever the model's device;
            None for torch's own.
        saved: for `load`: tensors by layer and name, that take the place of initialisation from data.

    Returns:
        The same model. Only `lora_*` parameters require gradients now.

    Raises:
        AdapterError: an adapter is already attached, nothing matches, the rank does not fit a layer, or data
            are missing or too few. The model is then as it was.
    """
    if getattr(model, _STATE, None) is not None:
        raise AdapterError("this model already has an adapter; call detach(model) before attaching another")
    variant = REGISTRY[cfg.variant]
    targets = find_targets(model, cfg)
    for name, layer in targets.items():
        try:
            variant.check(layer.in_features, layer.out_features, cfg)
        except AdapterError as error:
            raise AdapterError(f"{name}: {error}") from None
    _refuse_tied(model, targets)
    needs_data = variant.needs_data(cfg) and saved is None
    if needs_data and calibration_data is None:
        raise AdapterError(f"{cfg.variant} with this config chooses by data; pass calibration_data to attach")

    state = Attachment(cfg, variant, targets, [p for p in model.parameters() if p.requires_grad])
    setattr(model, _STATE, state)
    try:
        gathered: dict[str, Calibrator | None] = dict.fromkeys(targets)
        if needs_data:
            gathered = {name: variant.calibrator(layer, cfg) for name, layer in targets.items()}
            wanted = {name: calibrator for name, calibrator in gathered.items() if calibrator is not None}
            calibrate(model, targets, wanted, calibration_data)
            for name, calibrator in wanted.items():
                require_tokens(name, calibrator.tokens, cfg.r)
        for parameter in state.required_grad:
            parameter.requires_grad_(False)
        for name, layer in targets.items():
            specs = variant.param_specs(layer.in_features, layer.out_features, cfg)
            _add_tensors(layer, specs, generator)
            with torch.no_grad():
                if saved is None or not variant.needs_data(cfg):
                    variant.init(layer, cfg, gathered[name])
                if saved is not None:
                    variant.restore(layer, cfg, saved[name])
            state.handles.append(layer.register_forward_hook(state.hook, with_kwargs=True))
    except BaseException:
        detach(model)
        raise
    return model


def _refuse_tied(model: nn.Module, targets: dict[str, Layer]) -> None:
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for name, layer in targets.items():
        others = [owner for owner in owners[id(layer.weight)] if owner != f"{name}.weight"]
        if others:
            raise AdapterError(
                f"{name} shares its weight with {others[0]}; adapting one would change both, leave it out"
            )


def _add_tensors(layer: Any, specs: dict[str, ParamSpec], generator: torch.Generator | None) -> None:
    weight = layer.weight
    for name, spec in specs.items():
        # Drawn on the CPU in float32, so that a seed gives the same adapter on every device and dtype.
        tensor = spec.init(torch.empty(spec.shape, dtype=torch.float32), generator or torch.default_generator)
        if spec.trained:
            layer.register_parameter(name, nn.Parameter(tensor.to(weight.device)))
        else:
            dtype = at_least_float32(weight.new_empty(0)).dtype if spec.full_precision else weight.dtype
            layer.register_buffer(name, tensor.to(weight.device, dtype))


def detach(model: nn.Module, *, keep_merged: bool = False) -> nn.Module:
    """Remove the adapter; the model's weights, state dict and gradient flags are what they were before.

    Args:
        keep_merged: leave a merged adapter folded into the weights for good: a plain model that computes what
            the adapted one did.

    Raises:
        AdapterError: there is no adapter, or none merged that could be kept.
    """
    state = attachment(model)
    if keep_merged and not state.merged:
        raise AdapterError("keep_merged=True needs a merged adapter; call merge(model) first")
    if state.merged and not keep_merged:
        unmerge(model)
    for handle in state.handles:
        handle.remove()
    for layer in state.targets.values():
        for name in [n for n in (*layer._parameters, *layer._buffers) if n.startswith("lora_")]:
            delattr(layer, name)
    for parameter in state.required_grad:
        parameter.requires_grad_(True)
    delattr(model, _STATE)
    return model


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """The base model, for the length of a `with` block, merged or not."""
    state = attachment(model)
    was_enabled, was_merged = state.enabled, state.merged
    if was_merged:
        unmerge(model)
    state.enabled = False
    try:
        yield model
    finally:
        state.enabled = was_enabled
        if was_merged:
            merge(model)


@torch.no_grad()
def merge(model: nn.Module) -> nn.Module:
    """Fold the adapter into the weights, so that the plain layers compute it at no extra cost.

    The base weights are set aside, not overwritten: `unmerge` puts the very same tensors back.

    Raises:
        AdapterError: there is no adapter, it is merged already, or its variant is not a change of W.
    """
    state = attachment(model)
    if state.merged:
        raise AdapterError("this adapter is merged already; call unmerge(model) first")
    merged = {}
    for name, layer in state.targets.items():
        weight = layer.weight
        merged[name] = state.variant.merged_weight(layer, state.cfg, at_least_float32(weight)).to(weight.dtype)
    for name, layer in state.targets.items():
        state.base_weights[name] = layer.weight.data
        layer.weight.data = merged[name]
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Undo `merge`, exactly.

    Raises:
        AdapterError: there is no adapter, or it is not merged.
    """
    state = attachment(model)
    if not state.merged:
        raise AdapterError("this adapter is not merged")
    for name, layer in state.targets.items():
        layer.weight.data = state.base_weights.pop(name)
    return model


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's trained parameters by their names in the state dict, `<layer path>.lora_*`.

    Raises:
        AdapterError: there is no adapter.
    """
    targets = attachment(model).targets
    return {
        f"{name}.{key}": parameter
        for name, layer in targets.items()
        for key, parameter in layer.named_parameters(recurse=False)
        if key.startswith("lora_")
    }
