"""Attach an adapter to a model, change its coeff, switch it off, and detach it again.

An adapter's tensors are `lora_*` parameters and buffers of the target layers, so that they move, save and count with
the model; a hook on each target computes the new output. The base model's weights are never written: where a layer
needs another weight (PiSSA, or a merged adapter), its own tensor is stored and put back later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import antipasto.variants  # noqa: F401  registers every variant; `from . import` would ask for the whole API

from .adaptable import require_adaptable
from .attachment import STATE, Attachment, Weights, attachment
from .calibration import Contrast, calibrate, require_tokens
from .config import AdapterConfig, AdapterError
from .decompositions import non_finite
from .layer import Layer, lora_parameters, lora_tensors
from .quantised import quantisation, weight_of
from .targets import find_targets
from .tensor_bytes import tensor_checksums
from .variant import (
    REGISTRY,
    Factors,
    ParamSpec,
    Variant,
    accumulation_dtype,
    at_least_float32,
    compute_dtype,
    require_agreement,
)

TRAINED_DTYPES = (torch.float32, torch.bfloat16)


def attach(
    model: nn.Module,
    cfg: AdapterConfig,
    calibration_data: Any = None,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    saved: dict[str, dict[str, Tensor]] | None = None,
) -> nn.Module:
    """Add a variant's tensors to every target of a model, freeze the rest, and hook the targets.

    Args:
        model: any module with linear layers, plain or quantised by bitsandbytes; changed in place.
        cfg: which variant, and its settings.
        calibration_data: batches for the variants that need data (see `calibrate`); for `sspace` a `Contrast`.
        generator: a CPU generator that the random initialisation is drawn from, whatever the model's device;
            None for torch's own.
        dtype: of the trained parameters, float32 or bfloat16, whatever the base's is. Initial values are computed in
            float32 and rounded; an optimizer that follows its parameters, as AdamW does, has moments of it too.
        saved: tensors of a file by layer and name; `load` gives them. No calibration data are needed then, and trained
            parameters have the dtype that they were saved in.

    Returns:
        The same model. Only `lora_*` parameters require gradients now.

    Raises:
        AdapterError: an adapter is already attached, nothing matches, the rank does not fit a layer, a quantised
            layer would have to change, or data are missing or too few. The model is then unchanged.
    """
    if getattr(model, STATE, None) is not None:
        raise AdapterError("this model already has an adapter; call detach(model) before attaching another")
    if dtype not in TRAINED_DTYPES:
        raise AdapterError(f"dtype={dtype}: trained parameters are float32 or bfloat16")
    if generator is not None and generator.device.type != "cpu":
        raise AdapterError(f"generator is on {generator.device}; give a CPU generator, which works for every device")
    variant = REGISTRY[cfg.variant]
    targets = find_targets(model, cfg, strict=saved is None)
    require_adaptable(model, targets, variant, cfg)
    state = Attachment(cfg, variant, targets, [p for p in model.parameters() if p.requires_grad])
    setattr(model, STATE, state)
    try:
        gathered = _gather(model, state, calibration_data) if saved is None else dict.fromkeys(targets)
        for parameter in state.required_grad:
            parameter.requires_grad_(False)
        of_model = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        for name, layer in targets.items():
            weight = weight_of(layer)
            specs = variant.param_specs(layer.in_features, layer.out_features, cfg)
            require_agreement(variant, cfg, specs)
            frozen = of_model if quantisation(layer) else layer.weight.dtype
            trained = dtype if saved is None else _saved_dtype(specs, saved.get(name, {}))
            add_tensors(layer, specs, frozen, generator, trained=trained)
            with torch.no_grad():
                if saved is None or not cfg.needs_data():
                    try:
                        variant.init(layer, cfg, weight, gathered[name])
                    except AdapterError as error:
                        raise AdapterError(f"{name}: {error}") from error
                extracted = variant.extracted_factors(layer, cfg)
                if extracted is not None:
                    extracted = Factors(*map(at_least_float32, extracted))
                    state.extracted_factors[name] = extracted
                    residual = at_least_float32(weight) - extracted.B @ extracted.A
                    original = state.put(name, Weights(residual, None))
                    # Nothing reads it before `detach` or `disabled`: it need not occupy GPU memory.
                    on_gpu = original.weight.is_cuda
                    state.original_weights[name] = Weights(original.weight.cpu(), None) if on_gpu else original
                if saved is not None:
                    _check_saved(name, variant, cfg, layer, saved.get(name, {}))
                    variant.restore(layer, cfg, saved[name])
        if saved is None:
            _require_finite(targets)
        state.hook(model)
        state.initial_checksums = {} if saved is not None else tensor_checksums(trainable_parameters(model))
    except BaseException:
        detach(model)
        raise
    return model


def _saved_dtype(specs: dict[str, ParamSpec], tensors: dict[str, Tensor]) -> torch.dtype:
    """That of a layer's trained tensors in a file, where it is one of TRAINED_DTYPES."""
    dtypes = {tensors[name].dtype for name, spec in specs.items() if spec.trained and name in tensors}
    return torch.bfloat16 if dtypes == {torch.bfloat16} else torch.float32


def _require_finite(targets: dict[str, Layer]) -> None:
    """Raise AdapterError where a layer's initial tensors hold NaN or inf."""
    named = ((name, tensor) for name, layer in targets.items() for tensor in lora_tensors(layer).items())
    broken = non_finite((f"{name}: its {key}", tensor) for name, (key, tensor) in named)
    if broken:
        raise AdapterError(f"{broken[0]} came out with NaN or inf; leave the layer out, or choose by other data")


def _check_saved(
    name: str, variant: Variant[Any], cfg: AdapterConfig, layer: Layer, tensors: dict[str, Tensor]
) -> None:
    """Raise AdapterError where saved tensors are not those of this layer."""
    own = lora_tensors(layer)
    known = own | variant.tensors_to_save(layer, cfg)
    for key in variant.required_names(layer, cfg) - tensors.keys():
        if not own.keys() <= tensors.keys():  # with include_basis=True a file holds all of the layer's own
            raise AdapterError(f"{name}: the saved adapter has no {key}")
    for key, tensor in tensors.items():
        if key not in known:
            raise AdapterError(f"{name}: the saved adapter has a {key}, which {cfg.variant} has not")
        if known[key].shape != tensor.shape:
            raise AdapterError(f"{name}: {key} is {tuple(tensor.shape)} in the file, {tuple(known[key].shape)} here")


def _gather(model: nn.Module, state: Attachment, data: Any) -> dict[str, Any]:
    """Each target's calibrator after the data; the two of its sides for a Contrast; None where no data are needed."""
    cfg, variant = state.cfg, state.variant
    new_calibrator = variant.calibrator(cfg)
    if new_calibrator is None:
        return dict.fromkeys(state.targets)
    if data is None:
        raise AdapterError(f"{cfg.variant} with this config chooses by data; pass calibration_data to attach")
    if variant.contrastive != isinstance(data, Contrast):
        expected = "Contrast(positive, negative)" if variant.contrastive else "batches"
        raise AdapterError(f"{cfg.variant} chooses by {expected}; pass calibration_data={expected}")
    sides = [data.positive, data.negative] if isinstance(data, Contrast) else [data]
    gathered = []
    for side in sides:
        calibrators = {name: new_calibrator(weight_of(layer)) for name, layer in state.targets.items()}
        calibrate(model, state.targets, calibrators, side)
        for name, layer in state.targets.items():
            require_tokens(
                name, calibrators[name].tokens, variant.tokens_needed(layer.in_features, layer.out_features, cfg)
            )
        gathered.append(calibrators)
    if variant.contrastive:
        return {name: (gathered[0][name], gathered[1][name]) for name in state.targets}
    return gathered[0]


def add_tensors(
    layer: Layer,
    specs: dict[str, ParamSpec],
    dtype: torch.dtype,
    generator: torch.Generator | None = None,
    *,
    trained: torch.dtype = torch.float32,
) -> None:
    """Put a variant's tensors on a layer, on its device: frozen ones in `compute_dtype(dtype)`, others in `trained`.

    They are initialised on the CPU in float32, so that a seed gives the same adapter on every device and dtype.
    """
    device = layer.weight.device
    for name, spec in specs.items():
        tensor = torch.empty(spec.shape, dtype=torch.float32, device="meta" if layer.weight.is_meta else "cpu")
        if not tensor.is_meta:
            tensor = spec.init(tensor, generator or torch.default_generator)
        if spec.trained:
            layer.register_parameter(name, nn.Parameter(tensor.to(device, trained)))
        else:
            precision = accumulation_dtype if spec.full_precision else compute_dtype
            layer.register_buffer(name, tensor.to(device, precision(dtype)))


def detach(model: nn.Module, *, keep_merged: bool = False) -> nn.Module:
    """Remove the adapter; the model's weights, state dict and gradient flags are what they were before.

    Args:
        keep_merged: leave a merged adapter in the weights for good: a plain model that computes what the adapted
            one did.

    Raises:
        AdapterError: there is no adapter, or keep_merged was given and the adapter is not merged.
    """
    state = attachment(model)
    state.require_enabled("detaching")
    if keep_merged and not state.merged:
        raise AdapterError("keep_merged=True needs a merged adapter; call merge(model) first")
    if not keep_merged:
        for name, weights in (state.unmerged | state.original_weights).items():
            state.put(name, weights)
    state.unhook()
    for layer in state.targets.values():
        for name in lora_tensors(layer):
            delattr(layer, name)
    for parameter in state.required_grad:
        parameter.requires_grad_(True)
    delattr(model, STATE)
    return model


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """The base model bit for bit, for the length of a `with` block, merged or not."""
    state = attachment(model)
    was_enabled = state.enabled
    replaced: dict[str, Weights] = {}
    try:
        state.enabled = False
        for name, weights in (state.unmerged | state.original_weights).items():
            replaced[name] = state.put(name, weights)
        yield model
    finally:
        state.enabled = was_enabled
        for name, weights in replaced.items():
            state.put(name, weights)


def recalibrate(
    model: nn.Module, calibration_data: Any = None, *, generator: torch.Generator | None = None
) -> nn.Module:
    """Choose again from other data. Trained tensors are initialised again: their meaning depends on the choice.

    Raises:
        AdapterError: there is no adapter, it needs no data, it was trained or loaded, it is merged, or the data are
            missing or too few. The adapter is then unchanged.
    """
    state = attachment(model)
    state.require_enabled("choosing again")
    if not state.cfg.needs_data():
        raise AdapterError(f"{state.cfg.variant} with this config chooses by W alone; other data change nothing")
    if state.merged:
        raise AdapterError("this adapter is merged; call unmerge(model) before choosing again")
    checksums = tensor_checksums(trainable_parameters(model))
    trained = [name for name, checksum in checksums.items() if state.initial_checksums.get(name) != checksum]
    if trained:
        raise AdapterError(
            f"{trained[0]} was trained (or loaded) for the present choice; to choose again, detach and attach anew"
        )
    before = {
        name: {key: tensor.clone() for key, tensor in lora_tensors(layer).items()}
        for name, layer in state.targets.items()
    }
    dtype = next((p.dtype for p in trainable_parameters(model).values()), torch.float32)
    detach(model)
    try:
        return attach(model, state.cfg, calibration_data, generator=generator, dtype=dtype)
    except BaseException:
        attach(model, state.cfg, saved=before)
        attachment(model).initial_checksums = state.initial_checksums
        raise


def set_coeff(model: nn.Module, coeff: float) -> nn.Module:
    """Change the coeff of an attached adapter: 0 is off, 1 is what was trained.

    Raises:
        AdapterError: there is no adapter, its variant has no coeff, the value is out of its range, or the adapter
            is merged.
    """
    state = attachment(model)
    if "coeff" not in {field.name for field in dataclasses.fields(state.cfg)}:
        raise AdapterError(f"{state.cfg.variant} has no coeff to turn")
    if state.merged:
        raise AdapterError("this adapter is merged; call unmerge(model) before turning its coeff")
    state.cfg = AdapterConfig.from_dict(state.cfg.to_dict() | {"coeff": coeff})
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
        for key, parameter in lora_parameters(layer).items()
    }
