"""Claims about what `status` says of the runs that are being made."""

import json
import os
import re
import signal
import time

import pytest
from command import QUICK, bench, start
from small_runs import small, store_in

from antipasto_bench.spec.sweep import Sweep
from antipasto_bench.store.leases import leased
from antipasto_bench.sweeps.status import fold_line, status_lines


def test_a_run_is_loading_then_at_a_step_then_scoring(tmp_path):
    store, run = store_in(tmp_path), small("lora")
    sweep, log = Sweep([run, small("base")]), store.workspace(run.run_id).log
    me = rf"\d s, process {os.getpid()}"
    assert status_lines(store, sweep) == ["2 runs: 2 owed", "nothing is being made"]
    with leased(run.run_id, store):
        head, line = status_lines(store, sweep)
        assert head == "2 runs: 1 running, 1 owed"
        assert re.fullmatch(f"{run.run_id}  loading, {me}", line)
        log.parent.mkdir(parents=True)
        for step, phase in ((5, f"step 5 of {run.steps}"), (run.steps, "scoring")):
            log.write_text(json.dumps({"step": step}) + "\n")
            assert re.fullmatch(f"{run.run_id}  {phase}, {me}", status_lines(store, sweep)[1])
    assert status_lines(store) == [f"{store.table}: 0 ok, 0 failed", "nothing is being made"]


def test_a_run_of_no_known_sweep_has_its_steps_from_its_settings(tmp_path):
    store, run = store_in(tmp_path), small("lora")
    workspace = store.workspace(run.run_id)
    workspace.path.mkdir(parents=True)
    workspace.log.write_text('{"step": 5}\n')
    with leased(run.run_id, store) as lease:
        assert "  step 5, " in status_lines(store)[1]
        workspace.config.write_text(json.dumps(run.model_dump(mode="json")))  # JSON is YAML
        lease.report("node-a", 4)
        assert f"  step 5 of {run.steps}, " in status_lines(store)[1]
        assert status_lines(store)[1].endswith(f", node-a for process {os.getpid()}")


def test_a_line_too_long_for_the_terminal_is_folded_and_not_cut():
    line = "nano__lora__r16__lr0.01__s300__seed0__4bc1b27e  step 275 of 300, 15 s, process 18712"
    assert fold_line(line, 120) == [line]
    assert fold_line(line, 50) == [
        "nano__lora__r16__lr0.01__s300__seed0__4bc1b27e",
        "  step 275 of 300, 15 s, process 18712",
    ]
    assert fold_line("2 runs: 1 running, 1 owed", 10) == ["2 runs: 1 running, 1 owed"]


@pytest.mark.slow
@pytest.mark.long
def test_status_tells_of_runs_in_the_making(tmp_path):
    assert "nothing is being made" in bench("status", cwd=tmp_path).stdout
    words = ["lora", "steps=2000", *QUICK[1:], "eval.general=none"]
    process = start("run", *words, cwd=tmp_path)
    deadline = time.time() + 120
    while not list(tmp_path.glob("outputs/.workspaces/*/log.jsonl")) and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    said = bench("status", *words, cwd=tmp_path).stdout
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "the same command goes on" in err.splitlines()[-1]
    assert "1 runs: 1 running" in said
    assert re.search(r"nano__lora\S+  step \d+ of 2000, \d+ s, process \d+", said)
