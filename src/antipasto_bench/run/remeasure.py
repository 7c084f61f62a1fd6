"""Measure again, on finished runs, what needs no training: forgetting, the dossier, and what the adapter costs.

For runs that were made before a text set was chosen, or on a machine that had other work to do. The scores stay as they
were recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import antipasto

from ..core.device import pick_device
from ..core.errors import UserError
from ..core.files import write_json
from ..core.provenance import provenance
from ..spec.compose import load_preset
from ..spec.config import BASE
from ..store.excerpts import keep
from ..store.folders import Store
from ..store.table import find, put
from .costs import measure_alone
from .data import read_texts
from .execute import general_loss, general_texts
from .export import attach_trained, finished_run
from .models import load_model


def remeasure(run_id: str, store: Store, general: str | None = None) -> dict[str, Any]:
    """Add what is measured to a run's row, and write its dossier anew.

    Args:
        general: texts to measure forgetting on; the run's own, or else its preset's, where None.

    Raises:
        UserError: no such run, or its adapter or samples are not in outputs/.
    """
    run, row = finished_run(run_id, store), find(store.table, run_id)
    assert row is not None
    if general is None and run.eval.general == "none":
        general = load_preset(run.preset).get("eval", {}).get("general", "none")
    scoring = run.eval.model_copy(update={"general": general or run.eval.general})
    run = run.model_copy(update={"eval": scoring})
    if not (store.run_dir(run_id) / "samples.jsonl").exists():
        raise UserError(f"{store.run_dir(run_id)} is not on this machine; what was measured there stays as it is")
    row["config"]["eval"] = scoring.model_dump(mode="json")
    if scoring.general != "none":
        texts = read_texts(scoring.general, scoring.general_limit)
        model, tokenizer = load_model(run)
        row |= general_loss(run, model, tokenizer, texts, "general_loss_base")
        if run.variant != BASE:
            attach_trained(model, run, store)
            if antipasto.merge_refusal(model) is None:
                antipasto.merge(model)
        row |= general_loss(run, model, tokenizer, texts, "general_loss")
        row["provenance"]["data"]["general"] = general_texts(texts)
        row["provenance"]["measured_again"] = provenance(model.device)["git"]
    keep(store.run_dir(run_id), store, run_id)
    return _record(row, store)


def remeasure_costs(run_ids: Iterable[str], store: Store) -> Iterator[dict[str, Any]]:
    """Measure each run's costs here and now; neither its adapter nor its samples need to be on this machine.

    Runs that differ in what cannot change their costs (learning rate, seed, steps, scoring) share one measurement.

    Yields:
        each run's row as it then stands in the table.

    Raises:
        UserError: no such run, or its model or data are not here.
    """
    measured: dict[str, dict[str, Any]] = {}
    for run_id in run_ids:
        run, row = finished_run(run_id, store), find(store.table, run_id)
        assert row is not None
        key = run.cost_key
        if key not in measured:
            measured[key] = measure_alone(run)
        if not measured[key]:
            raise UserError(f"{run_id}: its costs could not be measured, for the reason above; its row is as it was")
        here = provenance(pick_device(run.device))
        row["provenance"]["costs"] = {name: value for name, value in here.items() if name != "packages"}
        yield _record(row | measured[key], store)


def _record(row: dict[str, Any], store: Store) -> dict[str, Any]:
    row = {key: value for key, value in row.items() if key != "schema"}
    if store.run_dir(row["run_id"]).exists():
        write_json(store.run_dir(row["run_id"]) / "record.json", row)
    put(store.table, row)
    return row
