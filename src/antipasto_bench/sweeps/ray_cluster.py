"""The driver's connection to a Ray cluster: its capacity, its tasks, and what its nodes report."""

from __future__ import annotations

import json
import os
import signal
import socket
import uuid
from contextlib import chdir
from typing import Any

from ..core.errors import UserError, first_line
from ..core.install import install_hint
from ..core.signals import SIGNALS
from ..nano import MODEL_DIR
from ..run.workspace import versions
from ..store.folders import Store
from .engine import Engine
from .plan import Planned
from .ray_node import NodeProgress, ProgressBoard, RunTask, execute_task

LONGEST_SOCKET = 107  # bytes of the path of a socket on Linux
SOCKET_BYTES = len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")


class RayCluster:
    """A connection to a Ray cluster, closed by `close`.

    Raises:
        UserError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, engine: Engine, store: Store) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserError(f"engine=ray needs Ray; install it with: {install_hint('ray')}") from error
        self.ray: Any = ray
        self._engine, self._store = engine, store
        _connect(ray, engine.address)
        self.excluded: set[str] = set()  # ids of nodes that cannot make runs of this driver
        on_this_node = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            self.ray.get_runtime_context().get_node_id(), soft=False
        )
        board = self.ray.remote(ProgressBoard).options(num_cpus=0, scheduling_strategy=on_this_node)
        self._board = board.remote()
        self._execute_task = self.ray.remote(execute_task)
        self._token = store.outputs / f".shared.{uuid.uuid4().hex}"
        self._token.parent.mkdir(parents=True, exist_ok=True)
        self._token.touch()

    def close(self) -> None:
        self._token.unlink(missing_ok=True)
        self.ray.shutdown()

    @property
    def capacity(self) -> int:
        """How many runs the nodes can make at once, as they are now; each run is on one node."""
        runs, engine, with_gpus = 0, self._engine, self.has_gpus
        for resources in self._resources():
            by_cpus = resources.get("CPU", 0) // engine.cpus
            runs += int(min(by_cpus, resources.get("GPU", 0) // engine.gpus) if with_gpus else by_cpus)
        return runs if engine.workers is None else min(runs, engine.workers)

    @property
    def has_gpus(self) -> bool:
        return any(resources.get("GPU") for resources in self._resources())

    def _resources(self) -> list[dict[str, float]]:
        nodes = [node for node in self.ray.nodes() if node["Alive"] and node["NodeID"] not in self.excluded]
        return [node["Resources"] for node in nodes]

    def require_capacity(self) -> None:
        """Raise UserError where no node could ever make a run."""
        if not self.capacity:
            engine = self._engine
            needs = f"{engine.gpus:g} GPU and {engine.cpus} CPUs" if self.has_gpus else f"{engine.cpus} CPUs"
            raise UserError(f"the cluster has no node that has room for a run: each needs {needs}; see `ray status`")

    def submit(self, p: Planned) -> Any:
        """Have a node make the run.

        Returns:
            Ray's reference to the TaskResult.
        """
        task = RunTask(
            run_id=p.run_id,
            config=json.dumps(p.run.model_dump(mode="json")),
            outputs=str(self._store.outputs),
            token=str(self._token),
            scratch=self._engine.scratch,
            threads=self._engine.cpus,
            versions=versions(),
        )
        options: dict[str, Any] = {"num_gpus": self._engine.gpus} if self.has_gpus else {}
        if self.excluded:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(self.excluded))})"}
        return self._execute_task.options(num_cpus=self._engine.cpus, max_retries=0, **options).remote(
            task, self._board
        )

    def progress(self) -> dict[str, NodeProgress]:
        """The last progress that the nodes reported, by run id."""
        try:
            return dict(self.ray.get(self._board.progress.remote(), timeout=10))
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
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        # Ray puts the current folder first on the path of its workers: one without modules, so each has its own code
        with chdir(MODEL_DIR):
            ray.init(address=address, log_to_driver=False, logging_level="error", configure_logging=False)
        for number, handler in handlers.items():  # Ray has replaced them
            signal.signal(number, handler)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = first_line(error)
        raise UserError(
            f"address={address}: no Ray cluster answers ({reason}); `ray start --head` starts one, see docs/cluster.md"
            f"{_too_long_for_sockets()}"
        ) from error


def _too_long_for_sockets() -> str:
    """What to set where no node can start on this machine, since its sockets' paths would be too long; else nothing."""
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = os.environ.get(name, "")
    if len(os.fsencode(folder)) + SOCKET_BYTES <= LONGEST_SOCKET:
        return ""
    return (
        f". With {name}={folder} a node cannot start here: the paths of its sockets would be longer than "
        f"{LONGEST_SOCKET} bytes; `export RAY_TMPDIR=/tmp` before `ray start`"
    )
