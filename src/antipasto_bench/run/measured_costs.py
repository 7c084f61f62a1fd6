"""Costs that were measured before: settings that cost the same share one measurement.

On one machine, by one code and one set of libraries, and on the same training rows.
"""

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
from ..spec.references import recorded_config
from ..store.items import items_digest
from ..store.origins import CostsOrigin, ModelSource
from ..store.record import Costs, RunRecord
from ..store.table import read_records
from .active_run import ActiveRun
from .costs import measure
from .data import Splits, load_splits
from .evaluate import Evaluation
from .model_cache import MeasuredCosts
from .models import load_tokenizer, loading_packages, loads_linear_attention
from .overlap import without_test_questions
from .workspace import versions

# What a measurement depends on, beside the settings and the model.
SAME = (
    "code", "packages", "python", "device", "hardware", "threads", "instructions", "cuda", "kernels", "train",
)  # fmt: skip


def set_costs(active: ActiveRun, tokenizer: Any, splits: Splits) -> None:
    """Put into the record what the run's adapter costs: taken over from a run of the same settings, or measured now.

    Provenance says where and when it was measured. A measurement that fails is a warning: the run itself is whole.
    """
    run, models, record = active.run, active.context.models, active.record
    origin = record.provenance
    assert origin is not None  # set before anything is measured
    train, linear_attention = origin.data["train"].sha256, origin.kernels is not None
    key = (run.cost_key, train)
    measured = None if active.force else models.costs.get(key)
    if measured is None and not active.force:
        here = costs_origin(run, train, linear_attention)
        measured = _recorded(run, origin.model, here, read_records(active.context.store.table))
    if measured is None:
        if torch.cuda.is_available():  # two models would have to fit
            models.drop_model()
            models.free_memory()
        try:
            measured = MeasuredCosts(measure(run, tokenizer, splits), costs_origin(run, train, linear_attention))
        except (UserError, OSError) as error:
            warnings.warn(f"costs of {run.variant} are not measured: {error}", stacklevel=2)
            return
    if not measured.costs.measured:
        return
    models.costs[key] = measured
    record.take(measured.costs)
    record.provenance = origin.model_copy(update={"costs": measured.origin})


def measure_alone(run: RunConfig) -> MeasuredCosts:
    """The costs of a run's adapter where nothing of the run is loaded yet, on the rows that the run is trained on.

    Raises:
        UserError: the run cannot be made as asked.
    """
    drops = run.data.overlap == "drop"  # before the first of `data.limit` rows is counted
    splits = load_splits(run.data.model_copy(update={"limit": None}) if drops else run.data, run.eval)
    if drops:
        questions = Evaluation(run.eval, splits.valid).test_questions
        splits, _ = without_test_questions(splits, questions, run.data)
    costs = measure(run, load_tokenizer(run), splits)
    return MeasuredCosts(costs, costs_origin(run, items_digest(splits.train), loads_linear_attention(run)))


def costs_origin(run: RunConfig, train: str, linear_attention: bool) -> CostsOrigin:
    """Where, when, by what code and on which data the costs of a run are measured: here and now.

    Args:
        train: sha256 of the rows to train on.
        linear_attention: whether the model has layers of it, whose kernels are recorded then.
    """
    with pinned_threads(run.threads):
        here = provenance(pick_device(run.device), linear_attention, loading_packages(run))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return CostsOrigin(**here.model_dump(), measured_at=now, code=versions()["code"], train=train)


def _recorded(
    run: RunConfig, model: ModelSource | None, here: CostsOrigin, records: Iterable[RunRecord]
) -> MeasuredCosts | None:
    """The last measurement of the same settings and model that is `here` in all of SAME; None where none is."""
    key = recorded_config(run).cost_key
    measured: list[MeasuredCosts] = []
    for record in records:
        own = record.provenance
        if record.status != "ok" or not record.measured or own is None or own.costs is None or own.model != model:
            continue
        same = all(getattr(own.costs, name) == getattr(here, name) for name in SAME)
        if same and recorded_config(record.config).cost_key == key:
            costs = Costs(**{name: getattr(record, name) for name in Costs.model_fields})
            measured.append(MeasuredCosts(costs, own.costs))
    return max(measured, key=lambda m: m.origin.measured_at or "", default=None)
