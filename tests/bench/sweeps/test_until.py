"""Claims about a sweep that goes on until its arms are decided, and about its budget."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
from command import QUICK, bench, start
from recorded import record
from small_runs import store_in

from antipasto_bench.analysis.plan import Plan, read_plan, write_plan
from antipasto_bench.analysis.undecided import require_reference, undecided_arms
from antipasto_bench.core.errors import UserError
from antipasto_bench.spec.sweep import read_sweep, sweep_of
from antipasto_bench.store.table import append, read_records
from antipasto_bench.sweeps import until
from antipasto_bench.sweeps.budget import in_time, parse_budget
from antipasto_bench.sweeps.command import SweepCommand, refuse_with_until
from antipasto_bench.sweeps.engine import Engine
from antipasto_bench.sweeps.plan import due, plan
from antipasto_bench.sweeps.scheduler import Order
from antipasto_bench.sweeps.until import Rounds, run_until_decided

N = 40  # questions
RIGHT = {  # how many of them a seed answers
    "base": lambda seed: 1,
    "lora": lambda seed: 20 + seed % 2,
    "ia3": lambda seed: 19 + seed % 2,  # as good as lora: undecided for long
    "road": lambda seed: seed % 2,  # far worse
}


class Said(list):
    """What a sweep prints."""

    def log(self, text):
        self.append(text)

    def outcome(self, outcome):
        pass

    def worker_line(self, number, line):
        pass

    def all_done(self, count):
        self.append(f"done: {count}")


def record_owed(part, store, engine, command, output, *, is_part):
    """Stands for the training alone: each owed run gets the row and the items that one leaves."""
    order = Order(ends=command.ends)
    for p in order.select(plan(part, store), store):
        run = p.run
        score = RIGHT[run.variant](run.seed)
        fields = {"total_s": 100.0, "finished_at": "2026-01-01T00:00:00+00:00"}
        given = {"lr": run.lr, "seed": run.seed} if run.variant != "base" else {}
        append(store.table, record(store, run.variant, [*range(score)], N, fields, **given))
    return 0


@pytest.fixture
def simulated_runs(monkeypatch):
    monkeypatch.setattr(until, "make_runs", record_owed)


def go_on(words, store, **command):
    sweep = sweep_of(words, "nano")
    arms, said = {run.arm for run in sweep.runs}, Said()
    write_plan(Plan(looks="every seed"), store)
    code = run_until_decided(
        sweep, store, Engine(), SweepCommand(words, **command), said, lambda: [*undecided_arms(store, arms)]
    )
    return code, said


def seeds_of(store, variant):
    return [r.seed for r in read_records(store.table) if r.variant == variant]


def test_what_is_decided_gets_no_more_seeds_and_what_is_not_gets_them_with_its_reference(tmp_path, simulated_runs):
    store = store_in(tmp_path)
    code, said = go_on(["base", "lora", "ia3", "road", "seed=0,1,2,3,4"], store)
    assert code == 0
    assert seeds_of(store, "ia3") == seeds_of(store, "lora") == [0, 1, 2, 3, 4]
    assert len(seeds_of(store, "road")) < 5, "it was decided before"
    assert seeds_of(store, "base") == [None]
    assert said[-2].startswith("undecided: ia3")
    assert said[-2].endswith("all seeds that were given are used up")


def test_it_ends_where_all_is_decided(tmp_path, simulated_runs):
    store = store_in(tmp_path)
    code, said = go_on(["lora", "road", "seed=0,1,2,3,4,5,6,7,8,9"], store)
    assert (code, said[-2]) == (0, "every arm of the sweep that has a result is decided")
    assert len(seeds_of(store, "lora")) == len(seeds_of(store, "road")) < 10
    assert undecided_arms(store, {r.arm for r in read_records(store.table)}) == []


def test_the_same_command_goes_on_from_what_is_there(tmp_path, simulated_runs):
    words = ["lora", "ia3", "seed=0,1,2,3"]
    store = store_in(tmp_path)
    for variant, seed in (("lora", 0), ("lora", 1), ("ia3", 0), ("ia3", 1), ("ia3", 2)):  # killed within a round
        append(store.table, record(store, variant, [*range(RIGHT[variant](seed))], N, seed=seed))
    before = {r.run_id for r in read_records(store.table)}
    code, _ = go_on(words, store)
    assert code == 0
    assert sorted(seeds_of(store, "lora")) == sorted(seeds_of(store, "ia3")) == [0, 1, 2, 3]
    assert before < {r.run_id for r in read_records(store.table)}
    assert len(read_records(store.table)) == 8


def test_no_run_is_begun_that_by_the_time_of_its_arm_would_end_after_the_budget(tmp_path, simulated_runs):
    store = store_in(tmp_path)
    code, said = go_on(["lora", "ia3", "seed=0,1,2,3"], store, ends=datetime.now(UTC) + timedelta(seconds=60))
    assert code == 0
    assert (seeds_of(store, "lora"), seeds_of(store, "ia3")) == ([0, 1], [0, 1]), "each run takes 100 seconds"
    assert said[-1].startswith("undecided: ia3; no time is left for another run, and the same command goes on")


def test_a_budget_leaves_out_what_takes_longer_and_all_once_it_is_over(tmp_path):
    store = store_in(tmp_path)
    for variant, total in (("lora", 50.0), ("dora", 500.0)):
        append(store.table, record(store, variant, [0], 8, {"total_s": total, "measure_s": 20.0}, seed=0))
    owed = due(plan(sweep_of(["lora,dora,hra", "seed=0,1"], "nano"), store))
    soon = in_time(owed, datetime.now(UTC) + timedelta(seconds=100), store)
    assert [(p.run.variant, p.run.seed) for p in soon] == [("lora", 1), ("hra", 0), ("hra", 1)], "hra's is not known"
    soon = in_time(owed, datetime.now(UTC) + timedelta(seconds=60), store)
    assert [p.run.variant for p in soon] == ["hra", "hra"], "70 s with what is measured after a run"
    assert in_time(owed, datetime.now(UTC), store) == []


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("3h", 10800), ("1.5h", 5400)])
def test_a_budget_is_a_number_of_seconds_minutes_or_hours(text, seconds):
    assert parse_budget(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["3", "h", "-3h", "0s", "3 h", "3d", "1e9h", "9" * 400 + "h", "99999999h", "nanh"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(UserError, match="expected a time such as 90s, 30m or 3h"):
        parse_budget(text)


def test_a_choice_of_rates_costs_one_seed_more(tmp_path):
    path = tmp_path / "sweep.yaml"
    lines = ["lora lr=5e-3,1e-2 seed=0,1,2,3,4", "ia3 seed=7,8,9,10", "base"]
    path.write_text(json.dumps({"preset": "nano", "choose": "lr", "until": "decided", "runs": lines}))
    sweep = read_sweep(path)
    assert sweep.until_decided
    rounds = Rounds(sweep, plan(sweep, store_in(tmp_path)))
    ia3 = next(run.arm for run in sweep.runs if run.variant == "ia3")

    def seeds(variant):
        return sorted({run.seed for run in rounds.part().runs if run.variant == variant})

    assert (seeds("lora"), seeds("ia3"), seeds("base")) == ([0, 1, 2], [7, 8], [0])
    assert rounds.widen([ia3, ia3])
    assert (seeds("lora"), seeds("ia3")) == ([0, 1, 2], [7, 8, 9])
    assert rounds.widen([ia3])
    assert not rounds.widen([ia3, "an arm of another sweep"])


def test_options_that_mean_nothing_to_it_are_refused():
    for command, said in ((SweepCommand([], limit=3), "--budget 3h"), (SweepCommand([], shuffle=True), "--shuffle")):
        with pytest.raises(UserError, match=said):
            refuse_with_until(command, Engine())


def test_a_sweep_without_its_reference_is_refused_protocol_by_protocol():
    require_reference(sweep_of(["lora,ia3,base", "seed=0,1"], "nano").runs, Plan())
    require_reference(sweep_of(["lora", "rank=8,16"], "nano").runs, Plan("lora rank=8"))
    for words in (["ia3"], ["base"], ["lora", "rank=16"]):
        with pytest.raises(UserError, match="the sweep has no run of the reference, 'lora rank=8'; add one"):
            require_reference(sweep_of(words, "nano").runs, Plan("lora rank=8"))
    runs = sweep_of(["lora", "steps=10"], "nano").runs + sweep_of(["ia3", "steps=20"], "nano").runs
    with pytest.raises(UserError, match="no run of the reference"):
        require_reference(runs, Plan())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lora", "--until", "sure"], "--until sure: expected decided"),
        (["lora", "--until", "decided", "--budget", "3"], "--budget 3: expected a time"),
        (["ia3", "--until", "decided"], "the sweep has no run of the reference, 'lora'"),
        (["lora", "--until", "decided", "--limit", "2"], "bound it by --budget 3h"),
        (["lora", "--margin", "0"], "margin=0.0: expected a number above 0"),
        (["lora", "--reference", "lroa"], "reference='lroa': unknown variant 'lroa'; did you mean"),
        (["file.yaml"], "file.yaml: until=sure: expected decided"),
        (["plan.yaml"], "margin='wide': expected a number above 0"),
    ],
)
def test_a_mistake_is_one_line_and_settles_nothing(tmp_path, words, said):
    (tmp_path / "file.yaml").write_text("until: sure\nruns: [lora]\n")
    (tmp_path / "plan.yaml").write_text("margin: wide\nruns: [lora]\n")
    done = bench("sweep", *words, cwd=tmp_path, expect=2)
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert not (tmp_path / "results/plan.yaml").exists()


SMALL = [*QUICK, "eval.general=none", "seed=0,1,2"]


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_any_time_the_same_command_goes_on_in_workers_to_the_last_seed(tmp_path):
    """Real runs: two arms that eight steps and twelve questions cannot tell apart."""
    words = ["sweep", "lora,pissa", *SMALL, "--until", "decided", "--margin", "3"]
    process = start(*words, cwd=tmp_path)
    store = store_in(tmp_path)
    while len(read_records(store.table)) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read_plan(store) == Plan(margin=3.0, looks="every seed")
    kept = {r.run_id: r.finished_at for r in read_records(store.table)}
    done = bench(*words, "--workers", "2", "--budget", "30m", cwd=tmp_path)
    after = {r.run_id: r.finished_at for r in read_records(store.table)}
    assert kept.items() <= after.items(), "nothing is made twice"
    assert len(after) == 6
    assert "worker 1: [" in done.stderr
    assert "all seeds that were given are used up" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("done: 6 of 6 runs; next: antipasto-bench report")
    other = bench(*words[:-1], "5", cwd=tmp_path, expect=2)
    assert "settles another plan" in other.stderr


@pytest.mark.slow
def test_a_plain_sweep_with_a_reference_settles_a_plan_of_one_look_before_its_first_run(tmp_path):
    path = tmp_path / "sweep.yaml"
    line = " ".join(["lora", *QUICK, "eval.general=none"])
    path.write_text(json.dumps({"preset": "nano", "reference": "lora rank=16", "margin": 4, "runs": [line]}))
    done = bench("sweep", path, "--dry-run", cwd=tmp_path)
    assert not (tmp_path / "results").exists()
    done = bench("sweep", path, "--budget", "1s", cwd=tmp_path)
    assert read_plan(store_in(tmp_path)) == Plan("lora rank=16", 4)
    assert done.stderr.splitlines()[0].endswith("every arm against lora rank=16, margin 4 points, looks: one")
    done = bench("sweep", path, "--reference", "pissa", "--budget", "1s", cwd=tmp_path, expect=2)
    assert "settles another plan" in done.stderr
