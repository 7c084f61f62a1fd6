"""Make the runs that a sweep owes on a Ray cluster: `sweep ... engine=ray address=auto`.

A run is a Ray task of one GPU, or of a CPU where the cluster has no GPU. The driver is the process that was started: it
submits the tasks, and it alone writes results/. Where the nodes share its outputs/ folder, runs are made there, and a
run whose node was lost continues on another node from its last checkpoint. Where they do not, each node has a folder of
its own, the files of a finished run come back over the network, and a run whose node was lost starts over.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from ..core.errors import RunFailure, UserError
from ..core.files import move_folder
from ..core.locks import HeldElsewhere, locked
from ..core.signals import Interrupted, StopRequest
from ..run.execute import Outcome
from ..run.failures import record_dead_run
from ..run.workspace import Workspace
from ..spec.sweep import Sweep
from ..store.folders import Store
from ..store.leases import HeldLease, leased
from ..store.record import read_record
from ..store.recording import is_unstored, record_failed, store_result
from ..store.table import find
from .engine import Engine
from .plan import Planned
from .ray_cluster import RayCluster
from .ray_node import NodeProgress, TaskResult
from .scheduler import (
    MOST_DEATHS,
    Order,
    PrintLine,
    PrintOutcome,
    Tally,
    describe_error,
    owed,
    record_full_disk,
    recorded_outcome,
)

MOST_LOST_NODES = 5  # of one run, after which it is recorded as failed
POLL_S = 1.0
STOP_S = 120.0  # for the nodes to end their steps and write checkpoints


@dataclass
class RunningTask:
    """A run that a node is making."""

    planned: Planned
    locks: ExitStack  # holds the run's lock and lease until it is closed
    lease: HeldLease
    progress: NodeProgress | None = None  # as the lease has it


def make_all_on_ray(
    sweep: Sweep,
    store: Store,
    engine: Engine,
    print_outcome: PrintOutcome,
    print_line: PrintLine,
    order: Order,
    stop: StopRequest,
) -> Tally:
    """Make every run that is owed and that no other process makes, until none is left.

    Raises:
        UserError: there is no cluster, or it has no room for a run.
        Interrupted: SIGINT or SIGTERM came; the nodes have written checkpoints, as far as they could.
    """
    cluster = RayCluster(engine, store)
    driver = _Driver(sweep, store, cluster, print_outcome, print_line, order)
    try:
        cluster.require_capacity()
        with stop.deferred():
            return driver.run(stop)
    finally:
        driver.release_locks()
        cluster.close()


class _Driver:
    def __init__(
        self,
        sweep: Sweep,
        store: Store,
        cluster: RayCluster,
        print_outcome: PrintOutcome,
        print_line: PrintLine,
        order: Order,
    ) -> None:
        self.sweep, self.store, self.cluster = sweep, store, cluster
        self.report, self.log, self.order = print_outcome, print_line, order
        self.running: dict[Any, RunningTask] = {}  # by Ray's reference to the result
        self.tally, self.attempted = Tally(), set[str]()
        self.worker_deaths: Counter[str] = Counter()  # by run id
        self.lost_nodes: Counter[str] = Counter()

    def run(self, stop: StopRequest) -> Tally:
        while True:
            if stop.signum is not None:
                self._stop_nodes(stop.signum)
            more_may_come = self._submit_owed()
            if not self.running:
                if not more_may_come:
                    return self.tally
                time.sleep(POLL_S)
                continue
            finished, _ = self.cluster.ray.wait(list(self.running), timeout=POLL_S)
            for reference in finished:
                self._collect(reference, self.running.pop(reference))
            if self.cluster.excluded:
                self.cluster.require_capacity()
            self._note_progress()

    def release_locks(self) -> None:
        for task in self.running.values():
            task.locks.close()

    def _note_progress(self) -> None:
        """Write what the nodes report into the leases, where `status` reads it."""
        reported = self.cluster.progress()
        for task in self.running.values():
            progress = reported.get(task.planned.run_id)
            if progress is not None and progress != task.progress:
                task.progress = progress
                task.lease.report(progress.node, progress.step)

    def _submit_owed(self) -> bool:
        """Submit as many runs as the cluster has room for.

        Returns:
            whether more may be submitted later, though none is running: a learning rate is being tried elsewhere, or
            there was no room.
        """
        free = self.cluster.capacity - len(self.running)
        taken = self.tally.taken + len(self.running)
        if (free <= 0 and self.running) or taken == self.order.limit:
            return False
        pending, more_may_come = owed(self.sweep, self.store, self.order, self.attempted)
        for p in pending if self.order.limit is None else pending[: self.order.limit - taken]:
            if free <= 0:
                return True
            free -= self._submit(p)
        return more_may_come

    def _submit(self, p: Planned) -> bool:
        """Lock a run and submit it; False where another process makes it or has made it, or where that failed."""
        locks = ExitStack()
        try:
            submitted = self._lock_and_submit(p, locks)
        except Exception as error:  # of this run alone: the others go on
            self.attempted.add(p.run_id)
            self._refuse(p, error)
            submitted = False
        if not submitted:
            locks.close()
        return submitted

    def _lock_and_submit(self, p: Planned, locks: ExitStack) -> bool:
        try:
            locks.enter_context(locked(self.store.lock(p.run_id), wait=False))
        except HeldElsewhere:
            return False
        self.attempted.add(p.run_id)
        earlier = find(self.store.table, p.run_id)
        if earlier is not None:
            same_failure = p.state == earlier.status == "failed" and earlier.finished_at == p.failed_at
            if not same_failure:  # made by another process since it was planned
                return False
        lease = locks.enter_context(leased(p.run_id, self.store))
        if is_unstored(self.store.run_folder(p.run_id)):
            self._count(recorded_outcome(store_result(p.run_id, self.store)))
            return False
        self.log(f"[{len(self.attempted)}] {p.run_id}")
        self.running[self.cluster.submit(p)] = RunningTask(p, locks, lease)
        return True

    def _collect(self, reference: Any, task: RunningTask) -> None:
        """Record the result of a task that has ended; submit its run again where its node or its worker was lost."""
        errors, p, settled = self.cluster.ray.exceptions, task.planned, True
        try:
            settled = self._record(p, self.cluster.ray.get(reference))
        except (errors.NodeDiedError, errors.ObjectLostError):  # before the run was made, or on its way back
            settled = self._count_loss(p, "node", self.lost_nodes, MOST_LOST_NODES)
        except errors.WorkerCrashedError:
            settled = self._count_loss(p, "worker", self.worker_deaths, MOST_DEATHS)
        except errors.OutOfMemoryError:
            cause = " for want of memory on its node"
            settled = self._count_loss(p, "worker", self.worker_deaths, MOST_DEATHS, cause)
        except errors.TaskCancelledError:
            settled = True
        except Exception as error:  # of this run alone: the others go on
            cause_on_node = getattr(error, "cause", error)
            self._refuse(p, cause_on_node if isinstance(cause_on_node, Exception) else error)
        finally:
            if settled:
                task.locks.close()
            else:
                self.running[self.cluster.submit(p)] = task

    def _record(self, p: Planned, result: TaskResult) -> bool:
        """Record what a node sent; False where another node has to make the run.

        Raises:
            UserError: the node refused the run.
        """
        run_id = p.run_id
        if result.mismatch is not None:
            self.log(f"{result.node} makes no more of these runs: {result.mismatch}")
            self.cluster.excluded.add(result.node_id)
            return False
        if result.refused is not None:
            raise UserError(f"on {result.node}: {result.refused}")
        if result.record is None:  # stopped by a signal, not by this driver: its node is being shut down
            return self._count_loss(p, "node", self.lost_nodes, MOST_LOST_NODES)
        record = read_record(result.record)
        if record.status == "ok":
            if result.files is not None:
                self._unpack(run_id, result.files)
            self._count(recorded_outcome(store_result(run_id, self.store)))
        else:
            self._count(recorded_outcome(record_failed(record, self.store.run_folder(run_id), self.store)))
        return True

    def _unpack(self, run_id: str, files: dict[str, bytes]) -> None:
        """Write the files of a run that a node made in a folder of its own, in one step."""
        workspace = self.store.workspace(run_id).path  # where a part of it, left by a killed driver, is cleared again
        shutil.rmtree(workspace, ignore_errors=True)
        workspace.mkdir(parents=True)
        for name, content in files.items():
            (workspace / name).write_bytes(content)
        move_folder(workspace, self.store.run_folder(run_id).path)

    def _count_loss(self, p: Planned, what: str, losses: Counter[str], most: int, cause: str = "") -> bool:
        """Count that the node or the worker of a run was lost.

        Returns:
            whether that happened so often that the run was recorded as failed.
        """
        losses[p.run_id] += 1
        if losses[p.run_id] < most:
            has_work = Workspace(self.store.workspace(p.run_id), p.run).holds_work
            then = "goes on from what is kept" if has_work else "is made again"
            self.log(f"{p.run_id}: its {what} was lost{cause}; it {then}")
            return False
        error = RunFailure(f"its {what} was lost {most} times{cause and ', the last time'}{cause}")
        try:
            self._count(recorded_outcome(record_dead_run(p.run, error, self.store)))
        except (OSError, UserError) as unwritten:
            self._refuse(p, unwritten)
        return True

    def _refuse(self, p: Planned, error: Exception) -> None:
        """Print why a run cannot be made; record it as failed where a full disk is why."""
        self.log(f"error: {p.run_id}: {describe_error(error)}")
        outcome = record_full_disk(p.run, error, self.store)
        if outcome is None:
            self.tally.refused += 1
        else:
            self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        self.tally.count(outcome)
        self.report(outcome)

    def _stop_nodes(self, signum: int) -> None:
        """Have the nodes stop after the step in hand, wait for that, and record the runs that were just finished.

        Raises:
            Interrupted: always.
        """
        for reference in self.running:
            self.cluster.ray.cancel(reference)
        deadline = time.monotonic() + STOP_S
        unfinished = list(self.running)
        while unfinished and time.monotonic() < deadline:
            finished, unfinished = self.cluster.ray.wait(unfinished, num_returns=len(unfinished), timeout=POLL_S)
            for reference in finished:
                with suppress(Exception):  # cancelled, or lost
                    result = self.cluster.ray.get(reference)
                    if result.record is not None:
                        self._record(self.running[reference].planned, result)
        raise Interrupted(signum)
