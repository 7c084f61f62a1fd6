"""A finished run as files that other tools read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from safetensors import SafetensorError

import antipasto

from .config import BASE, RunConfig, model_fingerprint
from .errors import UserError
from .load import load_model
from .paths import Store
from .results import find


def finished_run(run_id: str, store: Store) -> RunConfig:
    """The config of a run that is in the table.

    Raises:
        UserError: it is not, it failed, or its base model's files are no longer those it was made with.
    """
    row = find(store.table, run_id)
    if row is None:
        raise UserError(f"no run {run_id!r} in {store.table}; `antipasto-bench list` shows them all")
    if row["status"] != "ok":
        raise UserError(f"{run_id} failed ({row['error']}); there is nothing to export")
    run = RunConfig.model_validate(row["config"]).model_copy(update={"device": "auto"})
    if model_fingerprint(run) != row["provenance"]["model"]["source"]:
        raise UserError(f"{run.model} is not here, or not the model that {run_id} was made with")
    return run


def export_merged(run_id: str, folder: Path, store: Store) -> Path:
    """Write base and adapter as one plain Hugging Face model folder, with its tokenizer, in one step.

    Raises:
        UserError: no such run, its adapter is not in outputs/, or the folder is in the way.
    """
    run = finished_run(run_id, store)
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; choose another, or remove it")
    adapter = store.run_dir(run_id) / "adapter.safetensors"
    if run.variant != BASE and not adapter.exists():
        raise UserError(f"{adapter} is not on this machine; make it again with: antipasto-bench run --force ...")
    model, tokenizer = load_model(run)
    if run.variant != BASE:
        try:
            antipasto.load(model, adapter)
        except antipasto.AdapterError as error:
            raise UserError(str(error)) from error
        antipasto.detach(antipasto.merge(model), keep_merged=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except SafetensorError as error:
        raise UserError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
