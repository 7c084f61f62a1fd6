"""Claims about sweeps that several processes share: each run is made once, and a worker that dies takes none along."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from command import QUICK, bench, start
from small_runs import SAME, StopAfter, result_of, small, store_in

from antipasto_bench.core.errors import UserError
from antipasto_bench.core.files import write_bytes
from antipasto_bench.core.signals import Interrupted
from antipasto_bench.run.execute import execute
from antipasto_bench.run.model_cache import Bases
from antipasto_bench.run.progress import Progress
from antipasto_bench.spec.sweep import Sweep, sweep_of
from antipasto_bench.store.folders import Store
from antipasto_bench.store.leases import claim_on, claimed, lock_of, making_of
from antipasto_bench.store.table import append, read_table
from antipasto_bench.sweeps.plan import estimate, plan, told
from antipasto_bench.sweeps.processes import environments, share
from antipasto_bench.sweeps.scheduler import Order, make_all
from antipasto_bench.sweeps.status import folded

pytestmark = pytest.mark.slow
FAST = [*QUICK, "eval.general=none"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_sweep_survives_a_killed_worker_divergence_a_corrupt_checkpoint_and_a_full_disk(tmp_path):
    words = ["lora,hra,ia3,road", "lr=1e-3,1e9,1e30", "seed=0,1", *FAST, "checkpoint=2"]
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("this machine mounts no tmpfs")
    store = Store(tmp_path / "results", small / "outputs")
    folders = ["--results", store.results, "--outputs", store.outputs]
    asked = sweep_of(words, None)
    assert len(asked.runs) == 24
    making = store.outputs / ".making"
    try:
        with pytest.raises(Interrupted):
            execute(asked.runs[0], store, Progress(quiet=True), stop=StopAfter(5))
        damaged = max(making.glob("*/checkpoints/step-*")) / "optimizer.safetensors"
        damaged.write_bytes(damaged.read_bytes()[:-7] + b"garbage")

        process = start("sweep", *words, *folders, "--workers", "2", cwd=tmp_path)
        victim = _first_at_work(store, process, but=asked.runs[0].run_id)
        os.kill(victim, signal.SIGKILL)
        _, err = process.communicate(timeout=280)
        assert process.returncode == 1, err
        assert "died of SIGKILL while making" in err
        assert "is damaged and left out" in err
        rows = _once_each(store, asked)
        reasons = {row["error"] for row in rows if row["status"] == "failed"}
        assert any("at step" in reason for reason in reasons), "the loss was no number any more"
        assert {reason for reason in reasons if "at step" not in reason} == {"the disk is full"}
        done = [row["run_id"] for row in rows if row["status"] == "ok"]
        assert len(re.findall(r"done: (\S+?):", err)) == len(done) > 0, "no run is made twice"
        said = bench("sweep", *words, *folders, "--dry-run", cwd=tmp_path).stdout
        assert f"24 runs: {len(done)} done, {24 - len(done)} failed" in said

        subprocess.run(["mount", "-o", "remount,size=60m", small], check=True)
        again = bench("sweep", *words, *folders, "--retry-failed", "--workers", "2", cwd=tmp_path, expect=1)
        made = re.findall(r"(?:done|failed): (\S+?):(?!.*recorded earlier)", again.stderr + again.stdout)
        assert sorted(made) == sorted({run.run_id for run in asked.runs} - set(done)), "only what had failed"
        rows = _once_each(store, asked)
        assert all("at step" in row["error"] and row["lr"] == 1e30 for row in rows if row["status"] == "failed")
        assert "whole" in bench("results", "verify", "--results", store.results, cwd=tmp_path).stdout
    finally:
        subprocess.run(["umount", small], check=True)


def _first_at_work(store: Store, process: subprocess.Popen, but: str) -> int:
    """The process that makes a run which has begun to train."""
    deadline = time.time() + 120
    while time.time() < deadline and process.poll() is None:
        for note in (store.outputs / ".locks").glob("*.json"):
            with suppress(OSError, ValueError):
                if note.stem != but and (making_of(note.stem, store) / "log.jsonl").exists():
                    return int(json.loads(note.read_text())["pid"])
        time.sleep(0.01)
    raise AssertionError("no run began to train")


def _once_each(store: Store, asked: Sweep) -> list[dict]:
    rows = read_table(store.table).to_dicts()
    assert store.table.read_bytes().count(b"\n") == len(asked.runs), "a line each"
    assert {row["run_id"] for row in rows} == {run.run_id for run in asked.runs}
    return rows


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


def test_workers_are_asked_to_stop_and_the_sweep_goes_on_later(tmp_path):
    words = ["lora", "seed=0,1", "steps=400", *QUICK[1:], "eval.general=none", "--workers", "2"]
    process = start("sweep", *words, cwd=tmp_path)
    making = tmp_path / "outputs" / ".making"
    deadline = time.time() + 120
    while sum(log.stat().st_size > 0 for log in making.glob("*/log.jsonl")) < 2 and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("interrupted; the workers have stopped")
    assert len(list(making.glob("*/checkpoints/step-*"))) >= 2
    assert not list((tmp_path / "outputs" / ".locks").glob("*.json"))
    plan_of = bench("sweep", *words, "--dry-run", cwd=tmp_path).stdout
    assert "2 owed" in plan_of


def test_a_base_model_that_served_other_runs_gives_the_bits_of_a_fresh_one(tmp_path):
    runs = [small(name) for name in ("lora", "pissa", "antipasto", "base")]
    fresh, reused, bases = store_in(tmp_path / "fresh"), store_in(tmp_path / "reused"), Bases()
    for run in [*runs, runs[0]]:
        execute(run, fresh, Progress(quiet=True))
    model = None
    for run in [*runs[::-1], runs[0]]:
        execute(run, reused, Progress(quiet=True), bases=bases)
        lent, _ = bases.model(run)
        bases.drop_lent() if model is not None and lent is not model else setattr(bases, "_lent", False)
        assert model is None or lent is model, "loaded once"
        model = lent
    for run in runs[:3]:
        assert result_of(run, reused) == result_of(run, fresh)
    tables = [read_table(store.table).sort("run_id").select("run_id", *SAME) for store in (fresh, reused)]
    assert tables[0].equals(tables[1], null_equal=True)


def test_a_base_model_that_was_changed_is_not_lent_again(tmp_path):
    run, bases = small("base"), Bases()
    model, _ = bases.model(run)
    next(model.parameters()).data[0] += 1
    with pytest.warns(UserWarning, match="is not as it was before base; it is loaded anew"):
        bases.give_back(run, model)
    assert bases.model(run)[0] is not model


def test_who_makes_a_run_is_known_while_it_is_made_and_forgotten_when_the_process_dies(tmp_path):
    store, run = store_in(tmp_path), small("lora")
    asked = Sweep([run, small("base")])
    lock_of(run.run_id, store).parent.mkdir(parents=True)
    with claimed(run.run_id, store):
        planned = plan(asked, store)
        assert [p.state for p in planned] == ["running", "owed"]
        assert planned[0].claim is not None
        assert planned[0].claim.who == f"process {os.getpid()}"
    assert [p.state for p in plan(asked, store)] == ["owed", "owed"]
    note = lock_of(run.run_id, store).with_suffix(".json")
    with claimed(run.run_id, store):
        note.write_text(note.read_text().replace(str(os.getpid()), "4194300"))
        assert claim_on(run.run_id, store) is None
    with claimed(run.run_id, store):
        kept = json.loads(note.read_text())
        note.write_text(json.dumps(kept | {"born": "another boot 1"}))
        assert claim_on(run.run_id, store) is None, "the number of the process was given out again"


def test_the_time_to_go_is_that_of_runs_of_the_same_kind(tmp_path):
    store = store_in(tmp_path)
    asked = Sweep([small("lora", seed=seed) for seed in range(4)])
    assert estimate(plan(asked, store), store) is None
    for seed, seconds in ((0, 30.0), (1, 50.0)):
        run = small("lora", seed=seed)
        row = {"run_id": run.run_id, "status": "ok", "model": "nano", "variant": "lora", "steps": run.steps}
        append(store.table, row | {"total_s": seconds})
    assert estimate(plan(asked, store), store) == 2 * 40.0
    assert [told(s) for s in (40, 600, 20_000)] == ["40 s", "10 min", "5.6 h"]


def test_a_finished_run_that_the_table_has_no_room_for_is_kept_for_later(tmp_path, monkeypatch):
    run, store, bases = small("lora"), store_in(tmp_path), Bases()

    def with_full_items(path, content):
        if path == store.items(run.run_id):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("antipasto_bench.run.execute.write_bytes", with_full_items)
        tally = make_all(
            Sweep([run]), store, lambda run, _: execute(run, store, Progress(quiet=True), bases=bases), print, Order()
        )
    assert (tally.made, tally.refused) == (0, 1)
    assert (store.run_dir(run.run_id) / "adapter.safetensors").exists()
    assert execute(run, store, Progress(quiet=True)).status == "ok"
    assert read_table(store.table)["status"].to_list() == ["ok"]


def test_workers_that_cannot_even_start_end_the_sweep(tmp_path):
    said: list[str] = []
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 6)"]
    with pytest.raises(UserError, match="died 3 times before it had begun a run"):
        share([command], Sweep([small("lora")]), store_in(tmp_path), Order(), {}, said.append)
    assert said == ["worker 0 died of SIGABRT"] * 3


def test_an_error_of_one_run_does_not_end_the_others(tmp_path):
    runs = [small("lora"), small("ia3")]
    said, made = [], []

    def make(run, failed_before):
        made.append(run.variant)
        raise KeyError("a bug")

    tally = make_all(Sweep(runs), store_in(tmp_path), make, said.append, Order())
    assert made == ["lora", "ia3"]
    assert tally.refused == 2
    assert "error: KeyError: 'a bug'" in said


def test_threads_are_shared_out_unless_somebody_chose(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert environments(4) == [{"OMP_NUM_THREADS": "2"}] * 4
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert environments(2) == [{"OMP_NUM_THREADS": "1"}] * 2


def test_a_line_too_long_for_the_terminal_is_folded_and_not_cut():
    line = "nano__lora__r16__lr0.01__s300__seed0__4bc1b27e  step 275 of 300, 15 s, process 18712"
    assert folded(line, 120) == [line]
    assert folded(line, 50) == [
        "nano__lora__r16__lr0.01__s300__seed0__4bc1b27e",
        "  step 275 of 300, 15 s, process 18712",
    ]
    assert folded("2 runs: 1 running, 1 owed", 10) == ["2 runs: 1 running, 1 owed"]


def test_status_tells_of_runs_in_the_making(tmp_path):
    assert "nothing is being made" in bench("status", cwd=tmp_path).stdout
    words = ["lora", "steps=2000", *QUICK[1:], "eval.general=none"]
    process = start("run", *words, cwd=tmp_path)
    deadline = time.time() + 120
    while not list(tmp_path.glob("outputs/.making/*/log.jsonl")) and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    said = bench("status", *words, cwd=tmp_path).stdout
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "the same command goes on" in err.splitlines()[-1]
    assert "1 runs: 1 running" in said
    assert re.search(r"nano__lora\S+  step \d+ of 2000, \d+ s, process \d+", said)
