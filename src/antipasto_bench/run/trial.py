"""A trial of a tune: attach, train a short run, measure the held-out loss of the validation questions, record.

No test question is read: the config of a trial names no test, and nothing is generated. So whether training rows hold
test questions is not looked at either; the runs that a tune leads to look at it. A killed trial goes on from its last
checkpoint, and what it measured at a rung is kept beside that.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import polars as pl
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from ..core.device import pinned_threads
from ..core.errors import RunFailure, UserError, first_line
from ..core.files import read_regular, write_json
from ..core.locks import HeldElsewhere, locked
from ..spec.config import RunConfig
from ..spec.tried import rung_steps
from ..store.checked_json import parse_object, with_digest, without_digest
from ..store.folders import Store
from ..store.items import weighted_token_loss
from ..store.leases import leased
from ..store.record import RunRecord
from ..store.trials import TrialRecord, add_trial, read_trials
from .active_run import ActiveRun
from .adapt import Pauses, adapt
from .context import RunContext
from .heldout_loss import reference_losses, references_of_valid
from .methods.registry import called
from .origin import provenance_of
from .workspace import Workspace

GoesOn = Callable[[Sequence[float]], bool]  # from the losses at the rungs so far


class _Stopped(Exception):  # noqa: N818  (an outcome)
    """The trial is in the worse half at a rung."""


@dataclass
class _Measured:
    """The held-out losses of a trial so far, by step; a file holds them against a kill."""

    workspace: Workspace
    losses: dict[int, float] = field(default_factory=dict)
    stderr: float | None = None  # of the last one

    def read(self) -> None:
        """Take over what an earlier try of the trial has measured; a damaged file is measured again."""
        try:
            values = without_digest(parse_object(read_regular(self.workspace.folder.rungs)), required=True)
            self.losses = {int(step): float(loss) for step, loss in values["losses"]}
        except (OSError, ValueError, KeyError, TypeError):
            self.losses = {}

    def add(self, step: int, loss: float) -> None:
        self.losses[step] = loss
        write_json(self.workspace.folder.rungs, with_digest({"losses": sorted(self.losses.items())}))

    def until(self, step: int) -> list[float]:
        return [loss for at, loss in sorted(self.losses.items()) if at <= step]


def recorded_trial(trial_id: str, store: Store) -> TrialRecord | None:
    return next((record for record in read_trials(store) if record.trial_id == trial_id), None)


def make_trial(
    run: RunConfig,
    trial_id: str,
    goes_on: GoesOn,
    is_enough: Callable[[TrialRecord], bool],
    context: RunContext,
    *,
    wait: bool = True,
    begins: Callable[[], None] = lambda: None,
) -> TrialRecord:
    """Make a trial and record it, unless another process has made it meanwhile.

    Args:
        run: the trial's config.
        goes_on: asked at each rung but the end.
        is_enough: whether a recorded trial is as far as it is wanted.
        wait: until another process that makes it has ended; else raise.
        begins: called once no other process makes it.

    Raises:
        HeldElsewhere: another process makes it, and `wait` is False.
        UserError: it cannot be made; nothing was recorded.
        Interrupted: a signal asked to stop; what was trained is kept for the next try.
        RuntimeError, MemoryError: the machine failed it; nothing was recorded.
    """
    store = context.store
    store.check_writable()
    with locked(store.lock(trial_id), wait=wait), leased(trial_id, store), pinned_threads(run.threads):
        begins()
        recorded = recorded_trial(trial_id, store)
        if recorded is not None and is_enough(recorded):
            return recorded
        workspace = Workspace(store.workspace(trial_id), run)
        active = ActiveRun(run, context, workspace, RunRecord.of(run, trial_id))
        try:
            record = _make(active, goes_on)
            add_trial(record, store)
            workspace.clear()
        finally:
            if not workspace.holds_work:
                workspace.clear()
            context.models.drop_lent()
            context.models.free_memory()
    return record


def clear_recorded(trial_id: str, store: Store) -> None:
    """Remove what is left of a recorded trial whose process was killed before it could."""
    folder = store.workspace(trial_id).path
    if folder.exists():
        with suppress(HeldElsewhere), locked(store.lock(trial_id), wait=False):  # who takes it further needs it
            shutil.rmtree(folder, ignore_errors=True)


def _make(active: ActiveRun, goes_on: GoesOn) -> TrialRecord:
    run, context = active.run, active.context
    began = time.perf_counter()
    context.progress.phase("load")
    splits = context.models.splits(run)
    model, tokenizer = context.models.model(run)
    origin = provenance_of(run, model, splits)
    rows = references_of_valid(splits.valid)
    if rows is None:
        raise UserError(f"eval.valid={run.eval.valid}: not every validation question has a reference solution")
    measured = _Measured(active.workspace)
    untuned, *rungs, end = rung_steps(run.steps)
    measured.read()
    try:
        measured.losses[untuned] = context.models.untuned_loss(run, lambda: _loss(model, tokenizer, rows, measured))
    except RunFailure as failure:
        raise UserError(f"{run.model}, before it is tuned: {failure}") from failure

    def measure(step: int) -> None:
        if step not in measured.losses:
            measured.add(step, _loss(model, tokenizer, rows, measured))
        if step != end and not goes_on(measured.until(step)):
            raise _Stopped

    state: Literal["done", "stopped", "diverged"]
    state, error = "done", None
    try:
        adapt(active, model, tokenizer, pauses=Pauses(rungs, measure))
        context.progress.phase("validation loss")
        measure(end)
    except _Stopped:
        state = "stopped"
    except (RunFailure, LinAlgError) as failure:
        state, error = "diverged", first_line(failure)
    context.models.give_back(run, model)
    record, losses = active.record, sorted(measured.losses.items())
    return TrialRecord(  # type: ignore[call-arg]  # `schema` has a default under its other name
        trial_id=record.run_id,
        state=state,
        error=error,
        model=record.model,
        variant=record.variant,
        rank=record.rank,
        lr=run.lr,
        seed=run.seed,
        protocol=record.protocol,
        steps=run.steps,
        steps_made=losses[-1][0],
        losses=losses,
        loss_stderr=measured.stderr,
        last_loss=record.last_loss,
        seconds=time.perf_counter() - began,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        config=record.config,
        provenance=origin,
    )


def _loss(model: Any, tokenizer: Any, rows: pl.DataFrame, measured: _Measured) -> float:
    """Nats a completion token over the validation questions.

    Raises:
        RunFailure: it is not finite.
    """
    nats, tokens = reference_losses(called(model), tokenizer, rows)
    if not np.isfinite(nats).all():
        raise RunFailure("the held-out loss is not finite")
    loss, measured.stderr = weighted_token_loss(nats, tokens)
    assert loss is not None  # every validation question has a solution
    return loss
