"""From a run to its adapter, and from a model to the adapter that is on it."""

from __future__ import annotations

from typing import Any

from antipasto.attachment import STATE

from ...core.errors import UserError
from ...spec.config import RunConfig
from ...spec.methods.external import load_variant
from ...spec.methods.external_function import FunctionMethod
from ...spec.methods.package import PACKAGE
from ...spec.methods.peft import PeftMethod
from ...spec.methods.weights import WeightsMethod
from .adapter import ADAPTER, Adapter
from .external import ExternalAdapter
from .library import LibraryAdapter
from .weights import WeightsAdapter


def adapter_for(run: RunConfig, model: Any) -> Adapter:
    """The run's adapter for a plain model, not attached yet.

    Raises:
        UserError: its variant is not here, or of another version of its package.
    """
    load_variant(run.variant)
    method = run.method  # which refuses a variant that is not here
    recorded, installed = run.adapter.get(PACKAGE), getattr(method, PACKAGE, None)
    if recorded != installed:
        raise UserError(f"{run.variant} is of {recorded}, and here is {installed}; install the package of that version")
    if isinstance(method, FunctionMethod):
        return ExternalAdapter(model, method)
    if isinstance(method, WeightsMethod):
        return WeightsAdapter(model)
    if isinstance(method, PeftMethod):
        from .peft import PeftAdapter

        return PeftAdapter(model)
    return LibraryAdapter(model)


def adapter_on(model: Any) -> Adapter | None:
    """The adapter that is attached to a model; None on a plain one."""
    adapter: Adapter | None = getattr(model, ADAPTER, None)
    if adapter is None and getattr(model, STATE, None) is not None:
        return LibraryAdapter(model)
    return adapter


def require_adapter(model: Any) -> Adapter:
    """As `adapter_on`, for a model that has one."""
    adapter = adapter_on(model)
    assert adapter is not None, "no adapter is attached to this model"
    return adapter


def called(model: Any) -> Any:
    """What computes a model's outputs: its adapter's `model` where one is attached, else the model itself."""
    adapter = adapter_on(model)
    return model if adapter is None else adapter.model
