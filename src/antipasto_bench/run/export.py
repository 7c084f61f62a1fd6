"""A finished run as files that other tools read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

import antipasto
from antipasto.peft_format import new_folder

from ..core.device import pinned_threads
from ..core.errors import UserError
from ..core.fingerprint import sha256_of
from ..core.json_types import Json
from ..spec.config import BASE, RunConfig
from ..store.excerpts import json_lines
from ..store.file_digests import SAMPLES
from ..store.folders import Store
from ..store.record import RunRecord
from ..store.table import find
from .generation_settings import dropped_settings, only_needed_settings
from .local_files import Places, runnable_config
from .methods.registry import adapter_for, adapter_on, require_adapter
from .models import load_model, model_source
from .score import SAMPLE_TEXTS, SAMPLE_TOKENS
from .text_batches import text_batches


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


class MergedExport(NamedTuple):
    """A merged model that was written."""

    folder: Path
    dtype: str  # of its weights
    error: float | None  # of merging, see `antipasto.merge_error`; None of the untuned model and without texts
    own_settings: Json  # the model's own generation settings, which scoring leaves out


def export_merged(
    run_id: str,
    folder: Path,
    store: Store,
    dtype: str | None = None,
    places: Places | None = None,
    trust_remote_code: bool = False,
) -> MergedExport:
    """Write base and adapter as one plain Hugging Face model folder, with its tokenizer, in one step.

    Args:
        dtype: of the weights, the run's own where None. In float32 they hold all of what was trained: base weights
            are the same numbers, and nothing of the adapter's change is rounded away.
        places, trust_remote_code: see `runnable_config`.

    Raises:
        UserError: no such run, its adapter is not in outputs/ or cannot be merged, or the folder is in the way.
    """
    record = finished_record(run_id, store)
    run = runnable_config(record, store, places, trust_remote_code)
    dtype = dtype or run.dtype
    if run.quant != "none" and dtype != run.dtype:
        raise UserError(
            f"{run_id} has a base of quant={run.quant}, whose weights have no other dtype; leave out --dtype"
        )
    error: float | None = None
    try:
        with pinned_threads(run.threads), new_folder(folder) as partial:
            model, tokenizer = load_adapted(record, run, store)
            if dtype != run.dtype:
                model.float()
            rounded_to = getattr(torch, dtype)
            if (adapter := adapter_on(model)) is not None:
                batches = list(text_batches(tokenizer, _texts(record, store), SAMPLE_TOKENS))
                error = adapter.merge_error(batches, rounded_to) if batches else None
                adapter.merge()
                adapter.detach(keep_merged=True)
            if dtype != run.dtype:
                model.to(rounded_to)
            with only_needed_settings(model):  # others would answer otherwise than was scored
                model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
    except antipasto.AdapterError as problem:
        raise UserError(str(problem)) from problem
    except SafetensorError as problem:
        raise UserError(f"cannot write {folder}: {problem}") from problem
    return MergedExport(folder.resolve(), dtype, error, dropped_settings(model))


def _texts(record: RunRecord, store: Store) -> list[str]:
    """The run's first prompts with its own answers; empty where its samples are gone or damaged."""
    try:
        samples = json_lines(store.run_folder(record.run_id).samples, record.file_sha256.get(SAMPLES))
        answered = dict.fromkeys(f"{sample['prompt']}{sample['response']}" for sample in samples)
    except (ValueError, KeyError) as error:
        warnings.warn(f"{record.run_id}: what merging rounds away is not measured: samples {error}", stacklevel=2)
        return []
    return list(answered)[:SAMPLE_TEXTS]


def export_peft(
    run_id: str, folder: Path, store: Store, places: Places | None = None, trust_remote_code: bool = False
) -> Path:
    """Write the adapter alone, as a PEFT LoRA folder; its base is named as the run named it.

    Args:
        places, trust_remote_code: see `runnable_config`.

    Raises:
        UserError: no such run, its adapter is not in outputs/ or is no LoRA, or the folder is in the way.
    """
    record = finished_record(run_id, store)
    run = runnable_config(record, store, places, trust_remote_code)
    if run.variant == BASE:
        raise UserError(f"{run_id} is the untuned model; it has no adapter to export")
    try:
        with pinned_threads(run.threads):
            model, _ = load_adapted(record, run, store)
            return require_adapter(model).export_peft(folder, model_source(run), run.revision)
    except antipasto.AdapterError as error:
        raise UserError(str(error)) from error


def load_adapted(record: RunRecord, run: RunConfig, store: Store) -> tuple[Any, Any]:
    """A run's model with its trained adapter attached, and its tokenizer.

    Args:
        record: names the run. Its id is not made from its config again: task files may have changed since.
        run: its config for this machine, as `runnable_config` gives it.

    Raises:
        UserError: its adapter is not in outputs/, is another one, or does not fit the model.
    """
    if run.variant != BASE:
        _adapter_of(record, store)
    model, tokenizer = load_model(run)
    if run.variant != BASE:
        attach_trained(model, record, store)
    return model, tokenizer


def attach_trained(model: Any, record: RunRecord, store: Store) -> None:
    """Attach a run's trained adapter to its base model.

    Raises:
        UserError: it is not in outputs/, is another one, or does not fit the model.
    """
    try:
        adapter_for(record.config, model).load(record.config, _adapter_of(record, store))
    except antipasto.AdapterError as error:
        raise UserError(str(error)) from error


def _adapter_of(record: RunRecord, store: Store) -> Path:
    """The file of the adapter that a run trained: of its digest, its variant and its settings."""
    adapter = store.run_folder(record.run_id).adapter
    again = "restore it, or make it again with: antipasto-bench run --force ..."
    if not adapter.exists():
        raise UserError(f"{adapter} is not on this machine; {again}")
    if record.adapter_sha256 is not None and sha256_of(adapter) != record.adapter_sha256:
        raise UserError(f"{adapter} is not the file that {record.run_id} trained: its digest is another; {again}")
    try:  # all that can be checked of older rows, which have no digest
        other = adapter_for(record.config, None).check_file(record.config, adapter)
        if other is not None:
            raise UserError(f"{adapter} is not the adapter of {record.run_id}: it is of {other}; {again}")
    except antipasto.AdapterError as error:
        raise UserError(str(error)) from error
    return adapter
