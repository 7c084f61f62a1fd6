"""Make a tune in this process, or in worker processes that share its arms.

A worker is the same command again. It starts once and makes trials until all that is owed is made by others. What
could not be made is left alone by all of them: its trial's id stands in a file that they share.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from ..core.child_processes import module_command
from ..core.errors import UserError
from ..spec.tune import Tune
from ..store.folders import Store
from ..store.leases import live_lease
from .engine import Engine
from .processes import run_workers, worker_count
from .scheduler import DEAD_DEVICE
from .tune import Ended, TuneOutput, Withheld, make_trials, owed_id, owed_searches, searches

REFUSED = 2  # exit code of a worker that refused an arm, of which no trial failed
TUNE_WITHHELD = "ANTIPASTO_TUNE_WITHHELD"  # set for workers: the file of `WithheldFile`


class WorkersOutput(TuneOutput, Protocol):
    """Prints what goes on in a tune, and in its workers."""

    def worker_line(self, number: int, line: str) -> None:
        """A line that a worker process printed."""


@dataclass(frozen=True)
class WithheldFile:
    """Ids of trials that no worker tries again, one a line."""

    path: Path

    def __contains__(self, trial_id: str) -> bool:
        return trial_id in self.path.read_text().split()

    def add(self, trial_id: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{trial_id}\n")


@dataclass(frozen=True)
class TuneWork:
    """The trials of a tune, as `processes.Work`."""

    tune: Tune
    store: Store
    withheld: Withheld

    def run_ids(self) -> list[str]:
        return [owed_id(self.tune, state) for state in owed_searches(self.tune, self.store, self.withheld)]

    def give_up(self, run_id: str, reason: str) -> None:  # which the line on the worker's death has
        self.withheld.add(run_id)

    def is_owed(self) -> bool:
        return any(live_lease(trial_id, self.store) is None for trial_id in self.run_ids())


def is_tune_worker() -> bool:
    """Whether this process was started by another one of the same tune."""
    return TUNE_WITHHELD in os.environ


def run_tune(tune: Tune, store: Store, engine: Engine, words: Sequence[str], output: WorkersOutput) -> int:
    """Make every trial that is owed.

    Args:
        words: arguments of `tune`, which workers are started with.

    Returns:
        the exit code: 1 where a trial of an arm could not be made, whose search stays where it was.

    Raises:
        UserError: no arm can be made, or there are more workers than GPUs.
        Interrupted: SIGINT or SIGTERM came; what was trained is kept for the next try.
    """
    if engine.engine != "local":
        raise UserError(f"engine={engine.engine}: trials are made on this machine; --workers N makes N at once")
    if is_tune_worker():
        ended = make_trials(tune, store, output, WithheldFile(Path(os.environ[TUNE_WITHHELD])), wait=False)
        refused_alone = bool(ended.refused) and not ended.failed
        return DEAD_DEVICE if ended.device_is_dead else REFUSED if refused_alone else _exit_code(ended)
    owed = len(owed_searches(tune, store, set()))
    count = worker_count((run for arm in tune.arms for run in arm.runs), engine, most=owed)
    if count <= 1:
        ended = make_trials(tune, store, output, set(), wait=True)
        if len(ended.refused) == len(tune.arms):
            raise _none_can_be_made(list(ended.refused.values()))
        return _exit_code(ended)
    with TemporaryDirectory(prefix="antipasto-tune-") as folder:
        withheld = WithheldFile(Path(folder) / "withheld")
        withheld.path.touch()
        command = [*module_command("antipasto_bench"), "tune", *words]
        told = {TUNE_WITHHELD: str(withheld.path)}
        work = TuneWork(tune, store, withheld)
        of_all = run_workers([command] * count, work, told, output.log, output.worker_line, engine.workers_per_gpu)
        if of_all.exit_code != REFUSED:
            return of_all.exit_code
        owed_still = [owed_id(tune, state) for state in searches(tune, store) if state.owed is not None]
        if len(owed_still) == len(tune.arms) and all(trial_id in withheld for trial_id in owed_still):
            raise _none_can_be_made(owed_still)
        return 1


def _none_can_be_made(reasons: Sequence[str]) -> UserError:
    """
    Args:
        reasons: one for each arm.
    """
    return UserError(reasons[0] if len(reasons) == 1 else f"none of {len(reasons)} arms can be made, see above")


def _exit_code(ended: Ended) -> int:
    return 1 if ended.refused or ended.failed else 0
