"""Make what a sweep owes on a Ray cluster: `sweep ... engine=ray address=auto`.

A run is a task of one GPU, or of a CPU where the cluster has no GPU. The process that was started, the driver, hands
out the runs and alone writes results. Where the nodes see its outputs/ folder, runs grow there, and one whose node is
lost goes on elsewhere from its last checkpoint; where they do not, each node has a folder of its own, what was made
comes back over the network, and a lost run starts over.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout

from ..core.errors import RunFailure, UserError
from ..core.install import install_hint
from ..core.signals import SIGNALS, Interrupted, Stop
from ..run.execute import Outcome, record_loss
from ..run.workspace import Making, versions
from ..spec.sweep import Sweep
from ..store.folders import Store
from ..store.leases import claimed, lock_of, making_of
from ..store.recording import record, unrecorded, write_record
from ..store.table import find, put
from .plan import Planned
from .ray_node import Board, Job, Made, task
from .scheduler import DEATHS, Engine, Order, Tally, owed, recorded_as_full

LOSSES = 5  # of its nodes, after which a run counts as failed
POLL_S = 1.0
STOP_S = 120.0  # for the nodes to end their steps and write checkpoints


@dataclass
class _Flight:
    """A run that is being made somewhere."""

    planned: Planned
    hold: ExitStack  # its lock, and the note of who makes it
    say: Callable[[dict[str, Any]], None]
    told: dict[str, Any]


class _Cluster:
    """The driver's side of a Ray cluster.

    Raises:
        UserError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, how: Engine, store: Store) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserError(f"engine=ray needs Ray; install it with: {install_hint('ray')}") from error
        self.ray, self.how, self.store = ray, how, store
        _connect(ray, how.address)
        self.unfit: set[str] = set()  # ids of nodes that cannot make our runs
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self.board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
        self.task = ray.remote(task)
        self.token = store.outputs / f".shared.{uuid.uuid4().hex}"
        self.token.parent.mkdir(parents=True, exist_ok=True)
        self.token.touch()

    def close(self) -> None:
        self.token.unlink(missing_ok=True)
        self.ray.shutdown()

    @property
    def room(self) -> int:
        """How many runs the nodes can make at once, as they are now: each on one node."""
        room = 0
        for has in self._resources():
            cpus = has.get("CPU", 0) // self.how.cpus
            room += int(min(cpus, has.get("GPU", 0) // self.how.gpus) if self.on_gpu else cpus)
        return room if self.how.workers is None else min(room, self.how.workers)

    @property
    def on_gpu(self) -> bool:
        return any(has.get("GPU") for has in self._resources())

    def _resources(self) -> list[dict[str, float]]:
        nodes = [node for node in self.ray.nodes() if node["Alive"] and node["NodeID"] not in self.unfit]
        return [node["Resources"] for node in nodes]

    def require_room(self) -> None:
        """Raise UserError where no node could ever make a run."""
        if not self.room:
            needs = f"{self.how.gpus:g} GPU and {self.how.cpus} CPUs" if self.on_gpu else f"{self.how.cpus} CPUs"
            raise UserError(f"the cluster has no node that has room for a run: each needs {needs}; see `ray status`")

    def submit(self, p: Planned) -> Any:
        job = Job(
            p.run.model_dump(mode="json"), str(self.store.outputs), str(self.token), self.how.scratch, self.how.cpus,
            versions(), p.run_id,
        )  # fmt: skip
        needs: dict[str, Any] = {"num_gpus": self.how.gpus} if self.on_gpu else {}
        if self.unfit:
            needs["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(self.unfit))})"}
        return self.task.options(num_cpus=self.how.cpus, max_retries=0, **needs).remote(job, self.board)

    def told(self) -> dict[str, dict[str, Any]]:
        """What the nodes have said of their runs."""
        try:
            return dict(self.ray.get(self.board.told.remote(), timeout=10))
        except self.ray.exceptions.RayError:
            return {}


def _connect(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its announcement of a new default
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit():
            socket.create_connection((host, int(port)), timeout=10).close()  # Ray itself would try for minutes
        elif address != "auto":
            raise UserError(f"address={address}: write address=HOST:PORT, or address=auto on a node of the cluster")
        ours = {number: signal.getsignal(number) for number in SIGNALS}
        ray.init(address=address, log_to_driver=False, logging_level="error", configure_logging=False)
        for number, handler in ours.items():  # Ray has put its own there
            signal.signal(number, handler)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        raise UserError(
            f"address={address}: no Ray cluster answers ({reason}); `ray start --head` starts one, see docs/cluster.md"
        ) from error


def make_all_on_ray(
    asked: Sweep,
    store: Store,
    how: Engine,
    report: Callable[[Outcome], None],
    say: Callable[[str], None],
    order: Order,
    stop: Stop,
) -> Tally:
    """Have every run made that is owed and that nobody else makes, until none is left.

    Args:
        report: given what came of each run.
        say: told what goes on.

    Raises:
        UserError: there is no cluster, or it has no room for a run.
        Interrupted: somebody asked to stop; the nodes have written checkpoints, as far as they could.
    """
    cluster = _Cluster(how, store)
    flights: dict[Any, _Flight] = {}
    try:
        cluster.require_room()
        with stop.after_this():
            return _Driver(asked, store, cluster, flights, report, say, order).drive(stop)
    finally:
        for flight in flights.values():
            flight.hold.close()
        cluster.close()


class _Driver:
    def __init__(
        self,
        asked: Sweep,
        store: Store,
        cluster: _Cluster,
        flights: dict[Any, _Flight],
        report: Callable[[Outcome], None],
        say: Callable[[str], None],
        order: Order,
    ) -> None:
        self.asked, self.store, self.cluster, self.flights = asked, store, cluster, flights
        self.report, self.say, self.order = report, say, order
        self.tally, self.tried = Tally(), set[str]()
        self.deaths: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()

    def drive(self, stop: Stop) -> Tally:
        while True:
            if stop.asked is not None:
                self._land(stop.asked)
            waits = self._hand_out()
            if not self.flights:
                if not waits:
                    return self.tally
                time.sleep(POLL_S)
                continue
            done, _ = self.cluster.ray.wait(list(self.flights), timeout=POLL_S)
            for ref in done:
                self._take(ref, self.flights.pop(ref))
            if self.cluster.unfit:
                self.cluster.require_room()
            told = self.cluster.told()
            for flight in self.flights.values():
                note = told.get(flight.planned.run_id)
                if note is not None and note != flight.told:
                    flight.told = note
                    flight.say(note)

    def _hand_out(self) -> bool:
        """Give the cluster as many runs as it has room for; whether more may come: of a
        choice that is being made elsewhere, or once there is room."""
        free = self.cluster.room - len(self.flights)
        taken = self.tally.made + self.tally.refused + len(self.flights)
        if (free <= 0 and self.flights) or taken == self.order.limit:
            return False
        left, waits = owed(self.asked, self.store, self.order, self.tried)
        for p in left if self.order.limit is None else left[: self.order.limit - taken]:
            if free <= 0:
                return True
            free -= self._hand(p)
        return waits

    def _hand(self, p: Planned) -> bool:
        """Take a run's lock and have it made; false where somebody else makes it, or has made it."""
        hold = ExitStack()
        try:
            flying = self._begin(p, hold)
        except Exception as error:  # of this run alone: the others go on
            self.tried.add(p.run_id)
            self._refuse(p, error)
            flying = False
        if not flying:
            hold.close()
        return flying

    def _begin(self, p: Planned, hold: ExitStack) -> bool:
        lock = lock_of(p.run_id, self.store)
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            hold.enter_context(FileLock(lock, timeout=0))
        except Timeout:
            return False
        self.tried.add(p.run_id)
        earlier = find(self.store.table, p.run_id)
        if earlier is not None and not (
            p.state == earlier["status"] == "failed" and earlier["finished_at"] == p.failed_at
        ):
            return False
        note = hold.enter_context(claimed(p.run_id, self.store))
        if unrecorded(self.store.run_dir(p.run_id)):
            self._finish(Outcome("ok", p.run_id, record(p.run_id, self.store)))
            return False
        self.say(f"[{len(self.tried)}] {p.run_id}")
        self.flights[self.cluster.submit(p)] = _Flight(p, hold, note, {})
        return True

    def _take(self, ref: Any, flight: _Flight) -> None:
        """What became of a run; one whose node was lost is handed out again."""
        errors, p, landed = self.cluster.ray.exceptions, flight.planned, True
        try:
            landed = self._record(p, self.cluster.ray.get(ref))
        except (errors.NodeDiedError, errors.ObjectLostError):  # in the making, or on the way back
            landed = self._lost(p, "node", self.losses, LOSSES)
        except errors.WorkerCrashedError:
            landed = self._lost(p, "worker", self.deaths, DEATHS)
        except errors.OutOfMemoryError:
            landed = self._lost(p, "worker", self.deaths, DEATHS, " for want of memory on its node")
        except errors.TaskCancelledError:
            landed = True
        except Exception as error:  # of this run alone: the others go on
            cause = getattr(error, "cause", error)
            self._refuse(p, cause if isinstance(cause, Exception) else error)
        finally:
            if landed:
                flight.hold.close()
            else:
                self.flights[self.cluster.submit(p)] = flight

    def _record(self, p: Planned, made: Made) -> bool:
        """Whether that was all: else it is to be made by another node."""
        run_id, row = p.run_id, made.row
        if made.unfit is not None:
            self.say(f"{made.node} makes no more of these runs: {made.unfit}")
            self.cluster.unfit.add(made.node_id)
            return False
        if made.refused is not None:
            raise UserError(f"on {made.node}: {made.refused}")
        if row is None:  # asked to stop, but not by this process: its node is being put away
            return self._lost(p, "node", self.losses, LOSSES)
        if row["status"] == "ok":
            if made.files is not None:
                self._unpack(run_id, made.files)
            self._finish(Outcome("ok", run_id, record(run_id, self.store)))
        else:
            with suppress(OSError):
                write_record(self.store.run_dir(run_id), row)
            put(self.store.table, row)
            self._finish(Outcome("failed", run_id, row))
        return True

    def _unpack(self, run_id: str, files: dict[str, bytes]) -> None:
        folder, place = making_of(run_id, self.store), self.store.run_dir(run_id)
        for old in (folder, place):
            shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        folder.rename(place)

    def _lost(self, p: Planned, what: str, count: Counter[str], most: int, why: str = "") -> bool:
        """Whether what made a run was lost once too often; it is recorded as failed then."""
        count[p.run_id] += 1
        if count[p.run_id] < most:
            kept = Making(making_of(p.run_id, self.store), p.run).holds_work
            then = "goes on from what is kept" if kept else "is made again"
            self.say(f"{p.run_id}: its {what} was lost{why}; it {then}")
            return False
        error = RunFailure(f"its {what} was lost {most} times{why and ', the last time'}{why}")
        try:
            self._finish(record_loss(p.run, error, self.store))
        except OSError as unwritten:
            self._refuse(p, unwritten)
        return True

    def _refuse(self, p: Planned, error: Exception) -> None:
        told = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        self.say(f"error: {p.run_id}: {told}")
        full = recorded_as_full(p.run, error, self.store)
        if full is None:
            self.tally.refused += 1
        else:
            self._finish(full)

    def _finish(self, outcome: Outcome) -> None:
        self.tally.made += 1
        self.tally.failed += outcome.status == "failed"
        self.report(outcome)

    def _land(self, signum: int) -> None:
        """Ask the nodes to stop after the step in hand, and wait until they have.

        Raises:
            Interrupted: always.
        """
        for ref in self.flights:
            self.cluster.ray.cancel(ref)
        deadline = time.monotonic() + STOP_S
        flying = list(self.flights)
        while flying and time.monotonic() < deadline:
            done, flying = self.cluster.ray.wait(flying, num_returns=len(flying), timeout=POLL_S)
            for ref in done:  # some were just finished
                with suppress(Exception):
                    made = self.cluster.ray.get(ref)
                    if made.row is not None:
                        self._record(self.flights[ref].planned, made)
        raise Interrupted(signum)
