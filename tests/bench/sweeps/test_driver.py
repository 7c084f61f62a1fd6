"""Claims about the driver of a Ray cluster, with a cluster in its place that answers as it is told to."""

import json
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from small_runs import small, store_in

from antipasto_bench.core.device import pinned_threads
from antipasto_bench.core.signals import Interrupted, StopRequest
from antipasto_bench.run.execute import Outcome
from antipasto_bench.run.workspace import versions
from antipasto_bench.spec.sweep import Sweep
from antipasto_bench.store.leases import live_leases
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import read_records
from antipasto_bench.sweeps import ray_driver, ray_node
from antipasto_bench.sweeps.engine import Engine
from antipasto_bench.sweeps.ray_node import NodeProgress, RunTask, TaskResult
from antipasto_bench.sweeps.scheduler import DEAD_DEVICE, Order

RUN = small("lora")
ERRORS = SimpleNamespace(
    **{
        name: type(name, (Exception,), {})
        for name in ("NodeDiedError", "ObjectLostError", "WorkerCrashedError", "OutOfMemoryError", "TaskCancelledError")
    }
)


class Cluster:
    """One node, which ends each task with the next of the given answers: at once, or when it is cancelled.

    Args:
        stop: that SIGTERM comes to after the first task was submitted; tasks run until then.
    """

    def __init__(self, answers: Iterator[TaskResult | Exception], stop: StopRequest | None) -> None:
        self.answers = answers
        self.stop = stop
        self.submitted: list[str] = []
        self.cancelled: list[int] = []
        self.excluded: set[str] = set()
        self.capacity = 1
        self.closed = False
        self.ray = SimpleNamespace(exceptions=ERRORS, wait=self._wait, get=self._get, cancel=self.cancelled.append)

    def submit(self, p) -> int:
        self.submitted.append(p.run_id)
        if self.stop is not None:
            self.stop.signum = signal.SIGTERM
        return len(self.submitted)

    def _wait(self, references, num_returns=1, timeout=0):
        ended = [reference for reference in references if self.stop is None or reference in self.cancelled]
        return ended, [reference for reference in references if reference not in ended]

    def _get(self, reference):
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def require_capacity(self) -> None:
        pass

    def progress(self) -> dict[str, NodeProgress]:
        return {}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def drive(tmp_path, monkeypatch):
    """Make a sweep of one run on a cluster that gives these answers."""

    def on_cluster(*answers: TaskResult | Exception, stop: StopRequest | None = None):
        cluster, store = Cluster(iter(answers), stop), store_in(tmp_path)
        lines: list[str] = []
        outcomes: list[Outcome] = []
        monkeypatch.setattr(ray_driver, "RayCluster", lambda engine, store: cluster)
        try:
            tally = ray_driver.make_all_on_ray(
                Sweep([RUN]), store, Engine(), outcomes.append, lines.append, Order(), stop or StopRequest()
            )
        finally:
            assert cluster.closed
            assert live_leases(store) == [], "none is left behind"
        return cluster, tally, lines, outcomes

    return on_cluster


def failed_on_node(reason: str) -> TaskResult:
    record = RunRecord.of(RUN, RUN.run_id)
    record.status, record.error = "failed", reason
    return TaskResult("node-a", "a", record=json.dumps(record.to_json()))


def test_a_failure_on_a_node_is_recorded_by_the_driver(drive, tmp_path):
    _, tally, lines, outcomes = drive(failed_on_node("loss is nan at step 3"))
    assert (tally.recorded, tally.failed, tally.refused) == (1, 1, 0)
    assert lines == [f"[1] {RUN.run_id}"]
    assert [outcome.status for outcome in outcomes] == ["failed"]
    assert [record.error for record in read_records(store_in(tmp_path).table)] == ["loss is nan at step 3"]


def test_a_run_whose_node_was_lost_is_submitted_again_and_failed_at_the_fifth_loss(drive, tmp_path):
    cluster, tally, lines, _ = drive(*[ERRORS.NodeDiedError()] * 5)
    assert cluster.submitted == [RUN.run_id] * 5
    assert lines[1:] == [f"{RUN.run_id}: its node was lost; it is made again"] * 4
    assert (tally.recorded, tally.failed) == (1, 1)
    (record,) = read_records(store_in(tmp_path).table)
    assert record.error == "its node was lost 5 times"


def test_a_run_whose_worker_died_twice_is_failed(drive, tmp_path):
    cluster, tally, _, _ = drive(ERRORS.WorkerCrashedError(), ERRORS.OutOfMemoryError())
    assert len(cluster.submitted) == 2
    assert tally.failed == 1
    (record,) = read_records(store_in(tmp_path).table)
    assert record.error == "its worker was lost 2 times, the last time for want of memory on its node"


def test_a_node_that_does_not_match_is_excluded_and_another_makes_the_run(drive):
    other = TaskResult("node-b", "b", mismatch="it has other versions than this machine (code)")
    cluster, tally, lines, _ = drive(other, failed_on_node("x"))
    assert cluster.excluded == {"b"}
    assert len(cluster.submitted) == 2
    assert lines[1] == "node-b makes no more of these runs: it has other versions than this machine (code)"
    assert tally.recorded == 1


def test_a_run_that_a_node_refuses_has_no_row(drive, tmp_path):
    _, tally, lines, outcomes = drive(TaskResult("node-a", "a", refused="gone.jsonl: no such file"))
    assert (tally.recorded, tally.refused) == (0, 1)
    assert lines[-1] == f"error: {RUN.run_id}: on node-a: gone.jsonl: no such file"
    assert outcomes == read_records(store_in(tmp_path).table) == []


def test_a_signal_stops_the_nodes_and_what_they_had_just_finished_is_recorded(drive, tmp_path):
    with pytest.raises(Interrupted) as interrupted:
        drive(failed_on_node("loss is nan at step 3"), stop=StopRequest())
    assert interrupted.value.exit_code == 143
    assert [record.error for record in read_records(store_in(tmp_path).table)] == ["loss is nan at step 3"]


@pytest.mark.parametrize("dead", [False, True])
def test_a_process_of_a_node_whose_gpu_is_dead_makes_no_further_run(dead, monkeypatch):
    result, codes = TaskResult("node", "id", device_is_dead=dead), []
    monkeypatch.setattr(ray_node, "execute_on_node", lambda task, report: result)
    monkeypatch.setattr(ray_node.os, "_exit", codes.append)
    assert ray_node.execute_task(None, None) is result
    assert codes == ([DEAD_DEVICE] if dead else [])


def test_a_node_reports_nothing_of_a_run_that_left_its_gpu_dead(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "id"))
    lost = Outcome("failed", RUN.run_id, RunRecord.of(RUN, RUN.run_id), device_is_dead=True)
    monkeypatch.setattr(ray_node, "execute", lambda run, context: lost)
    config = json.dumps(RUN.model_dump(mode="json"))
    with pinned_threads(None):
        task = RunTask(RUN.run_id, config, str(tmp_path), "no such file", str(tmp_path), 1, versions())
        result = ray_node.execute_on_node(task, lambda node, step: None)
    assert (result.device_is_dead, result.record, result.refused, result.mismatch) == (True, None, None, None)
