"""Claims about sweeps that several processes share: each run is made once, and a worker that dies takes none along."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
from command import QUICK, bench, start
from small_runs import StopAfter, make, small, store_in

from antipasto_bench.core.device import WORKERS_ON_GPU
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.files import write_json
from antipasto_bench.core.locks import locked
from antipasto_bench.core.process_identity import started_at
from antipasto_bench.core.signals import Interrupted
from antipasto_bench.run.failures import record_dead_run
from antipasto_bench.spec.sweep import Sweep, sweep_of
from antipasto_bench.spec.tune import tune_of
from antipasto_bench.store.folders import Store
from antipasto_bench.store.leases import noted_lease
from antipasto_bench.store.table import read_records, read_table
from antipasto_bench.sweeps.command import SweepCommand
from antipasto_bench.sweeps.engine import Engine
from antipasto_bench.sweeps.processes import (
    SweepWork,
    Worker,
    handle_worker_death,
    run_workers,
    worker_count,
    worker_environments,
)
from antipasto_bench.sweeps.scheduler import Order
from antipasto_bench.sweeps.sweep import worker_commands
from antipasto_bench.sweeps.tune_workers import TuneWork, WithheldFile

pytestmark = pytest.mark.slow
FAST = [*QUICK, "eval.general=none"]


def work(runs, store):
    return SweepWork(Sweep(runs), store, Order())


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_sweep_survives_a_killed_worker_divergence_a_corrupt_checkpoint_and_a_full_disk(tmp_path):
    words = ["lora,hra,ia3,road", "lr=1e-3,1e9,1e30", "seed=0,1", *FAST, "checkpoint=2"]
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("this machine mounts no tmpfs")
    store = Store(tmp_path / "results", small / "outputs")
    folders = ["--results", store.results, "--outputs", store.outputs]
    sweep = sweep_of(words, None)
    assert len(sweep.runs) == 24
    workspaces = store.workspace("x").path.parent
    try:
        with pytest.raises(Interrupted):
            make(sweep.runs[0], store, stop=StopAfter(5))
        damaged = max(workspaces.glob("*/checkpoints/step-*")) / "optimizer.safetensors"
        damaged.write_bytes(damaged.read_bytes()[:-7] + b"garbage")

        process = start("sweep", *words, *folders, "--workers", "2", cwd=tmp_path)
        victim = _first_at_work(store, process, but=sweep.runs[0].run_id)
        os.kill(victim, signal.SIGKILL)
        _, err = process.communicate(timeout=280)
        assert process.returncode == 1, err
        assert "died of SIGKILL while making" in err
        assert "is damaged and left out" in err
        rows = _once_each(store, sweep)
        reasons = {row["error"] for row in rows if row["status"] == "failed"}
        assert any("at step" in reason for reason in reasons), "the loss was no number any more"
        assert {reason for reason in reasons if "at step" not in reason} == {"the disk is full"}
        done = [row["run_id"] for row in rows if row["status"] == "ok"]
        assert len(re.findall(r"done: (\S+?):", err)) == len(done) > 0, "no run is made twice"
        said = bench("sweep", *words, *folders, "--dry-run", cwd=tmp_path).stdout
        assert f"24 runs: {len(done)} done, {24 - len(done)} failed" in said

        subprocess.run(["mount", "-o", "remount,size=60m", small], check=True)
        again = bench("sweep", *words, *folders, "--retry-failed", "--workers", "2", cwd=tmp_path, expect=1)
        repeated = re.findall(r"(?:done|failed): (\S+?):(?!.*recorded earlier)", again.stderr + again.stdout)
        assert sorted(repeated) == sorted({run.run_id for run in sweep.runs} - set(done)), "only what had failed"
        rows = _once_each(store, sweep)
        assert all("at step" in row["error"] and row["lr"] == 1e30 for row in rows if row["status"] == "failed")
        assert "whole" in bench("results", "verify", "--results", store.results, cwd=tmp_path).stdout
    finally:
        subprocess.run(["umount", small], check=True)


def _first_at_work(store: Store, process: subprocess.Popen, but: str) -> int:
    """The process that makes a run which has begun to train."""
    deadline = time.time() + 120
    while time.time() < deadline and process.poll() is None:
        for note in store.locks.glob("*.json"):
            with suppress(OSError, ValueError):
                if note.stem != but and store.workspace(note.stem).log.exists():
                    return int(json.loads(note.read_text())["pid"])
        time.sleep(0.01)
    raise AssertionError("no run began to train")


def _once_each(store: Store, sweep: Sweep) -> list[dict]:
    rows = read_table(store.table).to_dicts()
    assert store.table.read_bytes().count(b"\n") == len(sweep.runs), "a line each"
    assert {row["run_id"] for row in rows} == {run.run_id for run in sweep.runs}
    return rows


@pytest.mark.long
def test_a_run_that_kills_its_workers_is_recorded_as_failed_and_the_sweep_goes_on(tmp_path):
    """A stand-in for what the kernel does to a process that takes too much memory."""
    lora = json.loads(bench("sweep", "lora", *FAST, "--dry-run", "--json", cwd=tmp_path).stdout)["run_id"]
    note = tmp_path / "outputs" / ".locks" / f"{lora}.json"
    process = start("sweep", "lora,ia3", *FAST, "--workers", "2", cwd=tmp_path)
    killed: set[int] = set()
    deadline = time.time() + 200
    while len(killed) < 2 and time.time() < deadline and process.poll() is None:
        try:
            pid = json.loads(note.read_text())["pid"]
            if pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        except (OSError, ValueError):
            pass
        time.sleep(0.01)
    _, err = process.communicate(timeout=250)
    assert len(killed) == 2, err
    assert process.returncode == 1, err
    rows = {row["variant"]: row for row in read_table(tmp_path / "results/table.ndjson").iter_rows(named=True)}
    assert rows["lora"]["status"] == "failed"
    assert rows["lora"]["error"] == "its worker died 2 times, the last time of SIGKILL"
    assert rows["ia3"]["status"] == "ok"


@pytest.mark.long
def test_workers_are_asked_to_stop_and_the_sweep_goes_on_later(tmp_path):
    words = ["lora", "seed=0,1", "steps=400", *QUICK[1:], "eval.general=none", "--workers", "2"]
    process = start("sweep", *words, cwd=tmp_path)
    workspaces = tmp_path / "outputs" / ".workspaces"
    deadline = time.time() + 120
    while sum(log.stat().st_size > 0 for log in workspaces.glob("*/log.jsonl")) < 2 and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("interrupted; the workers have stopped")
    assert len(list(workspaces.glob("*/checkpoints/step-*"))) >= 2
    assert not list((tmp_path / "outputs" / ".locks").glob("*.json"))
    plan_of = bench("sweep", *words, "--dry-run", cwd=tmp_path).stdout
    assert "2 owed" in plan_of


def test_workers_that_cannot_even_start_end_the_sweep(tmp_path):
    said: list[str] = []
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 6)"]
    with pytest.raises(UserError, match="died 3 times before it had begun a run"):
        run_workers([command], work([small("lora")], store_in(tmp_path)), {}, said.append, lambda *_: None)
    assert said == ["worker 0 died of SIGABRT"] * 3


def test_threads_are_shared_out_unless_somebody_chose(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert worker_environments(4) == [{"OMP_NUM_THREADS": "2"}] * 4
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert worker_environments(2) == [{"OMP_NUM_THREADS": "1"}] * 2


def test_the_second_death_of_a_worker_over_a_run_records_it_as_failed(tmp_path):
    store, run = store_in(tmp_path), small("lora")
    shared, deaths, lines = work([small("ia3"), run], store), Counter(), []
    with subprocess.Popen(["true"], stdout=subprocess.PIPE, text=True) as process:
        process.wait()
    worker = Worker(3, process, threading.Thread())
    lease = {"host": socket.gethostname(), "pid": process.pid, "since": "2026-01-01T00:00:00+00:00"}
    failed = []
    for _ in range(2):
        write_json(store.lease(run.run_id), lease)
        failed.append(handle_worker_death(worker, "SIGKILL", deaths, shared, lines.append))
        assert noted_lease(run.run_id, store) is None
    assert failed == [False, True]
    assert lines == [f"worker 3 died of SIGKILL while making {run.run_id}"] * 2
    (record,) = read_records(store.table)
    assert (record.run_id, record.status) == (run.run_id, "failed")
    assert record.error == "its worker died 2 times, the last time of SIGKILL"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_death_counts_over_its_run_also_where_another_worker_has_taken_the_run_on_and_died_too(tmp_path, order):
    run, store = small("lora"), store_in(tmp_path)
    shared, deaths, failed = work([run], store), Counter(), []
    workers = []
    for number in range(2):
        take = f"""if True:
            import os, signal
            from pathlib import Path
            from antipasto_bench.store.folders import Store
            from antipasto_bench.store.leases import leased
            with leased({run.run_id!r}, Store(Path({str(store.results)!r}), Path({str(store.outputs)!r}))):
                os.kill(os.getpid(), signal.SIGKILL)
        """
        process = subprocess.Popen([sys.executable, "-c", take])
        started = started_at(process.pid)
        process.wait()
        workers.append(Worker(number, process, threading.Thread(), started))
    lease = noted_lease(run.run_id, store)
    assert lease.holder.is_of(workers[1].process.pid, workers[1].started)
    assert lease.holder.died_over(workers[0].process.pid, workers[0].started)
    assert not lease.holder.died_over(workers[0].process.pid, workers[0].started + 60), "another of its number"
    for place in order:
        failed.append(handle_worker_death(workers[place], "SIGKILL", deaths, shared, lambda line: None))
    assert failed == [False, True]
    assert deaths == {run.run_id: 2}
    assert [record.status for record in read_records(store.table)] == ["failed"]
    assert noted_lease(run.run_id, store) is None


def test_a_run_that_a_live_process_has_taken_on_is_not_given_up(tmp_path):
    run, store = small("lora"), store_in(tmp_path)
    shared, deaths = work([run], store), Counter({run.run_id: 5})
    with subprocess.Popen(["true"], stdout=subprocess.PIPE, text=True) as process:
        process.wait()
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": "2026-01-01T00:00Z",
        "died": [[process.pid, None]],
    }
    with locked(store.lock(run.run_id)):
        write_json(store.lease(run.run_id), holder)
        worker = Worker(0, process, threading.Thread())
        assert not handle_worker_death(worker, "SIGKILL", deaths, shared, lambda line: None)
    assert noted_lease(run.run_id, store) is not None
    assert read_records(store.table) == []


def test_a_trial_over_which_two_workers_died_is_left_alone_by_the_others(tmp_path):
    store, tune = store_in(tmp_path), tune_of(["lora,ia3"], "nano", budget=4)
    withheld = WithheldFile(tmp_path / "withheld")
    withheld.path.touch()
    shared = TuneWork(tune, store, withheld)
    before = shared.run_ids()
    with subprocess.Popen(["true"], stdout=subprocess.PIPE, text=True) as process:
        process.wait()
    worker, deaths = Worker(0, process, threading.Thread()), Counter()
    for _ in range(2):
        write_json(
            store.lease(before[0]), {"host": socket.gethostname(), "pid": process.pid, "since": "2026-01-01T00:00Z"}
        )
        handle_worker_death(worker, "SIGKILL", deaths, shared, lambda line: None)
    assert shared.run_ids() == before[1:]
    assert shared.is_owed()
    withheld.add(before[1])
    assert not TuneWork(tune, store, WithheldFile(withheld.path)).is_owed()
    assert not store.trials.exists()


def test_a_worker_that_dies_without_a_run_is_counted_by_its_number(tmp_path):
    with subprocess.Popen(["true"], stdout=subprocess.PIPE, text=True) as process:
        process.wait()
    deaths: Counter[str] = Counter()
    worker, shared = Worker(3, process, threading.Thread()), work([small("lora")], store_in(tmp_path))
    assert not handle_worker_death(worker, "SIGABRT", deaths, shared, print)
    assert deaths == {"worker 3": 1}


def test_workers_are_given_the_command_again_and_divide_its_limit(tmp_path):
    store = store_in(tmp_path)
    command = SweepCommand(["lora", "seed=0,1"], "nano", retry_failed=True, limit=5, as_json=True)
    folders = ["--preset", "nano", "--results", str(store.results), "--outputs", str(store.outputs)]
    common = [
        sys.executable,
        "-P",
        "-m",
        "antipasto_bench",
        "sweep",
        "lora",
        "seed=0,1",
        "--retry-failed",
        "--json",
        *folders,
    ]
    assert worker_commands(command, store, 2) == [[*common, "--limit", "3"], [*common, "--limit", "2"]]
    plain = SweepCommand(["lora"])
    assert all("--limit" not in line and "--preset" not in line for line in worker_commands(plain, store, 2))


@pytest.mark.parametrize(("wanted", "limit", "count"), [(None, None, 1), (4, None, 4), (4, 2, 2), (None, 3, 1)])
def test_without_gpus_one_process_makes_a_sweep_unless_more_are_wanted(monkeypatch, wanted, limit, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert worker_count([small("lora")], Engine(workers=wanted), limit) == count


def test_each_visible_gpu_has_a_worker_unless_a_model_is_laid_out_over_all(monkeypatch):
    monkeypatch.setattr("antipasto_bench.sweeps.processes.visible_gpus", lambda: ["0", "1", "2"])
    spread = [small("lora"), small("ia3", device_map="auto")]
    assert worker_count([small("lora")], Engine(), None) == 3
    assert worker_count(spread, Engine(), None) == 1
    assert worker_count([small("lora")], Engine(workers_per_gpu=2), None) == 6
    assert worker_count([small("lora")], Engine(workers_per_gpu=2, workers=5), None) == 5
    with pytest.raises(UserError, match="workers_per_gpu=2: device_map=auto gives one run all GPUs"):
        worker_count(spread, Engine(workers_per_gpu=2), None)


def test_workers_that_share_gpus_fill_one_after_another(monkeypatch):
    monkeypatch.setattr("antipasto_bench.sweeps.processes.visible_gpus", lambda: ["4", "GPU-7"])
    places = [environment["CUDA_VISIBLE_DEVICES"] for environment in worker_environments(4, 2)]
    assert places == ["4", "4", "GPU-7", "GPU-7"]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in worker_environments(2)] == ["4", "GPU-7"]
    shares = [[environment.get(WORKERS_ON_GPU) for environment in worker_environments(2, count)] for count in (1, 2)]
    assert shares == [[None, None], ["2", "2"]]
    with pytest.raises(UserError, match=r"workers=5: this machine shows 2 GPUs, and 2 workers share one"):
        worker_environments(5, 2)
    with pytest.raises(UserError, match=r"each worker takes one; workers_per_gpu=N lets N workers share a GPU"):
        worker_environments(3)


def test_without_a_gpu_no_workers_can_share_one(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for words in (["workers_per_gpu=2"], ["--workers-per-gpu", "2"]):
        said = bench("sweep", "lora", *words, cwd=tmp_path, expect=2).stderr
        assert said.splitlines()[-1] == (
            "error: workers_per_gpu=2: this machine shows no GPU; workers=N divides its cores"
        )
    for words in (["workers_per_gpu=0"], ["--workers-per-gpu", "0"]):
        said = bench("sweep", "lora", *words, cwd=tmp_path, expect=2).stderr
        assert said == "error: workers_per_gpu=0: expected a whole number of at least 1\n"


SICK = """
import os, sys, pathlib
pathlib.Path(sys.argv[1]).open("a").write("x")
sys.exit(75)
"""


def test_a_worker_whose_gpu_is_dead_is_replaced_and_not_for_ever(tmp_path):
    said: list[str] = []
    starts = tmp_path / "starts"
    command = [sys.executable, "-c", SICK, str(starts)]
    ended = run_workers([command], work([small("lora")], store_in(tmp_path)), {}, said.append, lambda *_: None)
    assert starts.read_text() == "xxx"
    assert ended.exit_code == 1
    assert said[:2] == ["worker 0 has ended: its GPU was in an error state; a new process takes its place"] * 2
    assert said[2].endswith("for the 3rd time: it is not replaced")


def test_a_worker_whose_gpu_is_dead_is_not_replaced_where_nothing_is_owed(tmp_path):
    store, run = store_in(tmp_path), small("lora")
    record_dead_run(run, RuntimeError("CUDA error: device-side assert triggered"), store)
    starts = tmp_path / "starts"
    command = [sys.executable, "-c", SICK, str(starts)]
    run_workers([command], work([run], store), {}, lambda line: None, lambda *_: None)
    assert starts.read_text() == "x"
