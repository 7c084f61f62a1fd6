"""Runs that could not be finished: recorded as failed with the reason, never as a result."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import torch
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from ..core.device import device_is_dead, peak_bytes, pick_device
from ..core.errors import RunFailure, UserError, disk_is_full, out_of_memory
from ..core.paths import locate
from ..core.places import without_places
from ..core.provenance import provenance
from ..spec.config import RunConfig
from ..spec.references import recorded_config, references
from ..store.folders import Store
from ..store.origins import Provenance
from ..store.record import RunRecord
from ..store.recording import is_unstored, store_result, write_record
from ..store.table import find, put
from .active_run import ActiveRun
from .workspace import Workspace


def record_failure(active: ActiveRun, error: Exception) -> RunRecord:
    """Record why a run could not be finished. Its checkpoints stay for a retry, unless the run itself is at fault."""
    by: Literal["run", "machine"] = "run" if isinstance(error, RunFailure | LinAlgError) else "machine"
    retry = not isinstance(error, RunFailure)
    return _record(active.record, error, active.workspace, active.context.store, by, retry=retry)


def record_dead_run(run: RunConfig, error: Exception, store: Store) -> RunRecord:
    """Record as failed a run whose process has died, or had nowhere to write. Its checkpoints stay for a retry.

    To be used under the run's lock.

    Returns:
        the record; that of a result where the run was finished, and only its row was missing.

    Raises:
        OSError: the failure cannot be written either; the table is as it was.
    """
    run_id = run.run_id
    if is_unstored(store.run_folder(run_id)):
        return store_result(run_id, store)
    record = RunRecord.of(run, run_id)
    record.provenance = Provenance(**provenance(_device_here(run)).model_dump())
    record.finished_at = datetime.now(UTC).isoformat(timespec="seconds")
    return _record(record, error, Workspace(store.workspace(run_id), run), store, "machine", retry=True)


def _device_here(run: RunConfig) -> torch.device:
    """The run's device; the CPU where the run was to be made on another machine."""
    try:
        return pick_device(run.device)
    except UserError:
        return torch.device("cpu")


def _record(
    record: RunRecord,
    error: Exception,
    workspace: Workspace,
    store: Store,
    by: Literal["run", "machine"],
    *,
    retry: bool,
) -> RunRecord:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    if out_of_memory(error):
        reason = f"out of memory: {reason}"
        if not device_is_dead(workspace.run.device, every=workspace.run.device_map == "auto"):
            record.peak_bytes = peak_bytes(_device_here(workspace.run))
    elif disk_is_full(error):
        reason = "the disk is full"
    elif not isinstance(error, RunFailure):
        reason = f"{type(error).__name__}: {reason}"
    record.status, record.error, record.failed_by = "failed", _for_record(reason, workspace.run, store), by
    place, earlier = store.run_folder(record.run_id), find(store.table, record.run_id)
    has_result = earlier is not None and earlier.status == "ok"
    try:
        if workspace.holds_work and retry:
            if not has_result:
                write_record(place, record)
        else:
            workspace.folder.path.mkdir(parents=True, exist_ok=True)
            write_record(workspace.folder, record)
            if has_result:
                workspace.clear()
            else:
                workspace.finish(place)
    except OSError as unwritten:
        if not disk_is_full(unwritten):  # the table may lie on another disk
            raise
    put(store.table, record)
    return record


def _for_record(reason: str, run: RunConfig, store: Store) -> str:
    """A reason without the paths of this machine: in the words of the record."""
    recorded = references(recorded_config(run))
    names = {str(store.outputs): "outputs", str(store.results): "results"}
    for setting, reference in references(run).items():
        place = locate(reference)
        if place is not None:
            names[str(place)] = recorded[setting]
        if "/" in reference:
            names[reference] = recorded[setting]
    return without_places(reason, names)
