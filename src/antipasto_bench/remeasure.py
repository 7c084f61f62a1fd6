"""Measure again, on a finished run, what needs its adapter and no training: forgetting, and the dossier.

For runs that were made before a text set was chosen, or with another one. The scores stay as they were recorded.
"""

from __future__ import annotations

from typing import Any

import antipasto

from .config import BASE, load_preset
from .data import read_texts
from .dossier import keep
from .errors import UserError
from .export import attach_trained, finished_run
from .load import load_model
from .paths import Store
from .provenance import provenance
from .results import append, find, write_json
from .run import general_loss, general_texts


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
    row = {key: value for key, value in row.items() if key != "schema"}
    write_json(store.run_dir(run_id) / "record.json", row)
    append(store.table, row)
    return row
