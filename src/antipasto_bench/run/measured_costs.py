"""Costs that were measured before: settings that cost the same share one measurement, on one machine and one code."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import torch

from ..core.device import pick_device, pinned_threads
from ..core.errors import UserError
from ..core.provenance import provenance
from ..spec.config import RunConfig
from ..store.record import Costs, CostsOrigin, ModelSource, RunRecord
from ..store.table import read_records
from .active_run import ActiveRun
from .costs import measure
from .data import Splits
from .model_cache import MeasuredCosts
from .workspace import versions

# What a measurement depends on, beside the settings and the model.
SAME = ("code", "packages", "python", "device", "hardware", "threads", "instructions", "cuda")


def set_costs(active: ActiveRun, tokenizer: Any, splits: Splits) -> None:
    """Put into the record what the run's adapter costs: taken over from a run of the same settings, or measured now.

    Provenance says where and when it was measured. A measurement that fails is a warning: the run itself is whole.
    """
    run, models, record = active.run, active.context.models, active.record
    origin, key = record.provenance, run.cost_key
    measured = None if active.force else models.costs.get(key)
    if measured is None and not active.force:
        model = None if origin is None else origin.model
        measured = _recorded(run, model, read_records(active.context.store.table))
    if measured is None:
        if torch.cuda.is_available():  # two models would have to fit
            models.drop_model()
            models.free_memory()
        try:
            measured = MeasuredCosts(measure(run, tokenizer, splits), costs_origin(run))
        except (UserError, OSError) as error:
            warnings.warn(f"costs of {run.variant} are not measured: {error}", stacklevel=2)
            return
    if not measured.costs.measured:
        return
    models.costs[key] = measured
    record.take(measured.costs)
    if origin is not None:
        record.provenance = origin.model_copy(update={"costs": measured.origin})


def costs_origin(run: RunConfig) -> CostsOrigin:
    """Where, when and by what code the costs of a run are measured: here and now."""
    with pinned_threads(run.threads):
        here = provenance(pick_device(run.device))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return CostsOrigin(**here.model_dump(), measured_at=now, code=versions()["code"])


def _recorded(run: RunConfig, model: ModelSource | None, records: Iterable[RunRecord]) -> MeasuredCosts | None:
    """The last measurement of the same settings and model, on such a machine and by this code; None where none is."""
    here, key = costs_origin(run), run.cost_key
    measured: list[MeasuredCosts] = []
    for record in records:
        own = record.provenance
        if record.status != "ok" or not record.measured or own is None or own.costs is None or own.model != model:
            continue
        same = all(getattr(own.costs, name) == getattr(here, name) for name in SAME)
        if same and record.config.cost_key == key:
            costs = Costs(**{name: getattr(record, name) for name in Costs.model_fields})
            measured.append(MeasuredCosts(costs, own.costs))
    return max(measured, key=lambda m: m.origin.measured_at or "", default=None)
