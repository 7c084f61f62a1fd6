"""From a run to its adapter, and from a model to the adapter that is on it."""

from __future__ import annotations

from typing import Any

from antipasto.attachment import STATE

from ...spec.config import RunConfig
from ...spec.methods.peft import PeftMethod
from .adapter import ADAPTER, Adapter
from .library import LibraryAdapter


def adapter_for(run: RunConfig, model: Any) -> Adapter:
    """The run's adapter for a plain model, not attached yet.

    Raises:
        UserError: its variant is not here.
    """
    method = run.method  # which refuses a variant that is not here
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
