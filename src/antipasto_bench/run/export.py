"""A finished run as files that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

import antipasto
from antipasto.peft_format import new_folder

from ..core.errors import UserError
from ..core.fingerprint import model_fingerprint
from ..spec.config import BASE, RunConfig
from ..store.folders import Store
from ..store.record import RunRecord
from ..store.table import find
from .models import load_model, model_source


def finished_record(run_id: str, store: Store) -> RunRecord:
    """The record of a run that has a result.

    Raises:
        UserError: it is not in the table, or it failed.
    """
    record = find(store.table, run_id)
    if record is None:
        raise UserError(f"no run {run_id!r} in {store.table}; `antipasto-bench list` shows them all")
    if record.status != "ok":
        raise UserError(f"{run_id} failed ({record.error}); there is nothing to export")
    return record


def runnable_config(record: RunRecord) -> RunConfig:
    """The config of a recorded run, on a device of this machine.

    Raises:
        UserError: its base model's files are no longer those it was made with.
    """
    run = record.config.model_copy(update={"device": "auto"})
    source = record.provenance.model if record.provenance else None
    if source is None or model_fingerprint(run.model) != source.source:
        raise UserError(f"{run.model} is not here, or not the model that {record.run_id} was made with")
    return run


def export_merged(run_id: str, folder: Path, store: Store) -> Path:
    """Write base and adapter as one plain Hugging Face model folder, with its tokenizer, in one step.

    Raises:
        UserError: no such run, its adapter is not in outputs/ or cannot be merged, or the folder is in the way.
    """
    run = runnable_config(finished_record(run_id, store))
    try:
        with new_folder(folder) as partial:
            model, tokenizer = load_adapted(run, store)
            if run.variant != BASE:
                antipasto.detach(antipasto.merge(model), keep_merged=True)
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
    except antipasto.AdapterError as error:
        raise UserError(str(error)) from error
    except SafetensorError as error:
        raise UserError(f"cannot write {folder}: {error}") from error
    return folder.resolve()


def export_peft(run_id: str, folder: Path, store: Store) -> Path:
    """Write the adapter alone, as a PEFT LoRA folder; its base is named as the run named it.

    Raises:
        UserError: no such run, its adapter is not in outputs/ or is no LoRA, or the folder is in the way.
    """
    run = runnable_config(finished_record(run_id, store))
    if run.variant == BASE:
        raise UserError(f"{run_id} is the untuned model; it has no adapter to export")
    model, _ = load_adapted(run, store)
    try:
        return antipasto.save_peft(model, folder, base_model=model_source(run), revision=run.revision)
    except antipasto.AdapterError as error:
        raise UserError(str(error)) from error


def load_adapted(run: RunConfig, store: Store) -> tuple[Any, Any]:
    """The run's model with its trained adapter attached, and its tokenizer.

    Raises:
        UserError: its adapter is not in outputs/, or does not fit the model.
    """
    if run.variant != BASE:
        _adapter_of(run, store)
    model, tokenizer = load_model(run)
    if run.variant != BASE:
        attach_trained(model, run, store)
    return model, tokenizer


def attach_trained(model: Any, run: RunConfig, store: Store) -> None:
    """Attach a run's trained adapter to its base model.

    Raises:
        UserError: it is not in outputs/, or does not fit the model.
    """
    try:
        antipasto.load(model, _adapter_of(run, store))
    except antipasto.AdapterError as error:
        raise UserError(str(error)) from error


def _adapter_of(run: RunConfig, store: Store) -> Path:
    adapter = store.run_folder(run.run_id).adapter
    if not adapter.exists():
        raise UserError(f"{adapter} is not on this machine; make it again with: antipasto-bench run --force ...")
    return adapter
