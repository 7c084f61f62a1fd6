"""A run of the table made again, from its record, in a folder apart: never a second row."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..core.errors import UserError
from ..core.files import write_bytes
from ..spec.config import SCORING_VERSION, RunConfig, content_of
from ..store.folders import Store
from ..store.record import RunRecord
from .context import RunContext
from .execute import execute
from .local_files import Places, runnable_config

COMPARED = "compared"  # the file that says that a repeat was compared: the next one is made anew


def scratch_of(record: RunRecord, store: Store) -> Store:
    """Where a run is made again."""
    home = store.repeated(record.run_id)
    return Store(home / "results", home / "outputs")


def repeatable_config(
    record: RunRecord, store: Store, places: Places | None = None, trust_remote_code: bool = False
) -> RunConfig:
    """The config by which a recorded run is made again: its own, but without costs and trackers, which change nothing.

    Args:
        places, trust_remote_code: see `runnable_config`.

    Raises:
        UserError: it has no result, or model, data, tasks or rules of scoring are not those of the record any more.
    """
    if record.status != "ok":
        raise UserError(f"{record.run_id} failed ({record.error}); there is no result to repeat")
    if record.config.eval.version != SCORING_VERSION:
        raise UserError(
            f"{record.run_id} was scored by rules {record.config.eval.version}, by which no run is made any more"
        )
    run = runnable_config(record, store, places, trust_remote_code)
    run = run.model_copy(update={"costs": False, "track": "none"})
    if content_of(run.run_id) != content_of(record.run_id):
        raise UserError(
            f"{record.run_id} cannot be made again here: its data or its task are not what they were, or lie "
            "elsewhere; name them: data.train=PATH eval.data=PATH"
        )
    return run


def make_again(record: RunRecord, run: RunConfig, context: RunContext) -> RunRecord:
    """Make a run again in the context's store; one that was interrupted, or not compared yet, goes on from there.

    Args:
        run: see `repeatable_config`.

    Raises:
        UserError: another process is at it, or it failed.
        Interrupted: a signal came; the same command goes on.
    """
    home = _home(context.store)
    if (home / COMPARED).exists():
        for folder in filter(Path.exists, (context.store.results, context.store.outputs)):
            shutil.rmtree(folder)
        (home / COMPARED).unlink()  # last: after a kill in between the rest is removed, and never compared again
    outcome = execute(run, context)
    if outcome.record is None:
        raise UserError(f"{record.run_id} is being made again by another process")
    if outcome.record.status != "ok":
        set_compared(context.store)
        raise UserError(f"{record.run_id} failed when it was made again: {outcome.record.error}")
    return outcome.record


def set_compared(scratch: Store) -> None:
    """Note that a repeat was compared: its files stay to be looked at, until it is made once more."""
    write_bytes(_home(scratch) / COMPARED, b"")


def _home(scratch: Store) -> Path:
    return scratch.results.parent
