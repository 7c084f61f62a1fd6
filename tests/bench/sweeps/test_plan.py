"""Claims about the state of the runs of a sweep, and about the time that they will take."""

import json
import os
import shutil

from small_runs import SMALL, small, store_in

from antipasto_bench.cli.output import outcome_line, print_plan
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.execute import Outcome
from antipasto_bench.spec.compose import expand
from antipasto_bench.spec.sweep import Sweep
from antipasto_bench.store.leases import leased, live_lease
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import append
from antipasto_bench.sweeps.plan import estimate, format_duration, overview, plan


def test_who_makes_a_run_is_known_while_it_is_made_and_forgotten_when_the_process_dies(tmp_path):
    store, run = store_in(tmp_path), small("lora")
    sweep = Sweep([run, small("base")])
    store.locks.mkdir(parents=True)
    with leased(run.run_id, store):
        planned = plan(sweep, store)
        assert [p.state for p in planned] == ["running", "owed"]
        assert planned[0].lease is not None
        assert planned[0].lease.who == f"process {os.getpid()}"
    assert [p.state for p in plan(sweep, store)] == ["owed", "owed"]
    note = store.lease(run.run_id)
    with leased(run.run_id, store):
        note.write_text(note.read_text().replace(str(os.getpid()), "4194300"))
        assert live_lease(run.run_id, store) is None
    with leased(run.run_id, store):
        held = json.loads(note.read_text())
        note.write_text(json.dumps(held | {"started": held["started"] - 3600}))
        assert live_lease(run.run_id, store) is None, "the number of the process was given out again"


def test_the_time_to_go_is_that_of_runs_of_the_same_kind(tmp_path):
    store = store_in(tmp_path)
    sweep = Sweep([small("lora", seed=seed) for seed in range(4)])
    assert estimate(plan(sweep, store), store) is None
    for seed, seconds in ((0, 30.0), (1, 50.0)):
        run = small("lora", seed=seed)
        record = RunRecord.of(run, run.run_id)
        record.status, record.total_s = "ok", seconds
        append(store.table, record)
    assert estimate(plan(sweep, store), store) == 2 * 40.0
    assert [format_duration(s) for s in (40, 600, 20_000)] == ["40 s", "10 min", "5.6 h"]
    assert overview(plan(sweep, store), store) == "4 runs: 2 done, 2 owed, about 80 s of one process"


def test_a_run_is_done_under_any_name_of_its_models_folder_and_the_plan_names_the_row(tmp_path, capsys):
    store, run = store_in(tmp_path), small("lora")
    record = RunRecord.of(run, run.run_id)
    record.status = "ok"
    append(store.table, record)
    folders = [str(shutil.copytree(MODEL_DIR, tmp_path / name)) for name in ("zwei", "drei")]
    runs = expand(["lora"], {**{key: [value] for key, value in SMALL.items()}, "model": folders}, "nano")
    assert len(runs) == 1, "two copies of a model are one axis value"
    assert runs[0].run_id.startswith("zwei__")
    planned = plan(Sweep(runs), store)
    assert [(p.state, p.run_id, p.requested) for p in planned] == [("done", run.run_id, runs[0].run_id)]
    print_plan(planned, overview(planned, store), as_json=False)
    printed = capsys.readouterr().out
    assert f"done    {run.run_id}  the same run as {runs[0].run_id}" in printed
    assert f"1 done under another name of the same model, such as {run.run_id}" in printed
    assert "done already as" in outcome_line(Outcome("done", runs[0].run_id, record))
