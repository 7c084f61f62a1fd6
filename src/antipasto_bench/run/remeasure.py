"""Measure again, on finished runs, what needs no training: forgetting, the excerpts, and what the adapter costs.

For runs that were made before a text set was chosen, or on a machine that had other work to do. The scores stay as they
were recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..core.device import pinned_threads
from ..core.errors import UserError
from ..core.provenance import CodeAndMachine, provenance
from ..spec.config import BASE, RunConfig
from ..spec.presets import load_preset
from ..spec.references import recorded_config
from ..store.excerpts import write_excerpts
from ..store.folders import Store
from ..store.origins import Provenance
from ..store.record import RunRecord
from ..store.recording import replace
from .data import read_texts
from .export import attach_trained, finished_record
from .forgetting import measure_general_loss, texts_digest
from .local_files import Places, check_digest, require_data, runnable_config
from .measured_costs import measure_alone
from .model_cache import MeasuredCosts
from .models import load_model


def remeasure(
    run_id: str,
    store: Store,
    general: str | None = None,
    places: Places | None = None,
    trust_remote_code: bool = False,
) -> RunRecord:
    """Add what is measured to a run's record, and write its excerpts anew.

    Args:
        general: texts to measure forgetting on; the run's own, or else its preset's, where None.
        places, trust_remote_code: see `runnable_config`.

    Raises:
        UserError: no such run, or its adapter or samples are not in outputs/.
    """
    record = finished_record(run_id, store)
    run = runnable_config(record, store, places, trust_remote_code)
    if general is None:
        require_data(record, run, {"eval.general": "general"})
    if general is None and run.eval.general == "none":
        general = load_preset(run.preset).get("eval", {}).get("general", "none")
    scoring = run.eval.model_copy(update={"general": general or run.eval.general})
    run = run.model_copy(update={"eval": scoring})
    folder = store.run_folder(run_id)
    if not folder.samples.exists():
        raise UserError(f"{folder.path} is not on this machine; what was measured there stays as it is")
    recorded = recorded_config(record.config.model_copy(update={"eval": scoring})).eval.model_dump(mode="json")
    record.config = RunConfig.model_validate(
        record.config.model_dump(mode="json", exclude_unset=True) | {"eval": recorded}
    )
    if scoring.general != "none":
        with pinned_threads(run.threads):
            _measure_forgetting(run, record, store)
    try:
        write_excerpts(folder, store, record)
    except ValueError as error:
        raise UserError(f"{folder.path}: {error}; restore it, or make the run again with --force") from error
    replace(record, store)
    return record


def _measure_forgetting(run: RunConfig, record: RunRecord, store: Store) -> None:
    texts = read_texts(run.eval.general, run.eval.general_limit)
    model, tokenizer = load_model(run)
    record.general_loss_base, record.general_tokens = measure_general_loss(run, model, tokenizer, texts)
    if run.variant != BASE:
        attach_trained(model, record, store)  # unmerged, as it was trained
    record.general_loss, record.general_tokens = measure_general_loss(run, model, tokenizer, texts)
    here = provenance(model.device)
    origin = record.provenance or Provenance(**here.model_dump())
    # A copy, so that the field counts as set and is written.
    record.provenance = origin.model_copy(
        update={"data": origin.data | {"general": texts_digest(texts)}, "measured_again": here.git}
    )


def remeasure_costs(
    run_ids: Iterable[str], store: Store, places: Places | None = None, trust_remote_code: bool = False
) -> Iterator[RunRecord]:
    """Measure each run's costs here and now; neither its adapter nor its samples need to be on this machine.

    Runs that differ in what cannot change their costs (learning rate, seed, steps, scoring) share one measurement.

    Args:
        places, trust_remote_code: see `runnable_config`.

    Yields:
        each run's record as it then stands in the table.

    Raises:
        UserError: no such run, or its model or data are not here; or, after all others, the costs of some could not be
            measured: a warning said why, and their rows are as they were.
    """
    measured: dict[str, MeasuredCosts] = {}
    failed: list[str] = []
    for run_id in run_ids:
        record = finished_record(run_id, store)
        run = runnable_config(record, store, places, trust_remote_code)
        require_data(record, run, {"data.train": "train", "eval.valid": "valid"})
        key = run.cost_key
        if key not in measured:
            measured[key] = measure_alone(run)
        costs, where = measured[key].costs, measured[key].origin
        if not costs.measured:
            failed.append(run_id)
            continue
        check_digest(record, "data.train", "train", where.train)
        origin = record.provenance or Provenance(**where.model_dump(include=set(CodeAndMachine.model_fields)))
        record.provenance = origin.model_copy(update={"costs": where})
        record.take(costs)
        replace(record, store)
        yield record
    if failed:
        reason = "costs could not be measured, for the reason above; the row is as it was"
        raise UserError(f"{', '.join(failed)}: {reason}")
