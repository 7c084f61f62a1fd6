"""Claims about the state of the runs of a sweep, and about the time that they will take."""

import json
import os

from small_runs import small, store_in

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
