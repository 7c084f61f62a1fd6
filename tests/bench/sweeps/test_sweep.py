"""Claims about sweep files: what they expand to, and how a learning rate is chosen on the way."""

import json
from pathlib import Path

import pytest
from command import QUICK, bench
from recorded import record as finished

from antipasto_bench.analysis.sections import sections
from antipasto_bench.core.errors import UserError
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.spec.sweep import find_sweep, read_sweep, sweep_of
from antipasto_bench.store.folders import Store
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import append
from antipasto_bench.sweeps.plan import due, plan

LINES = ["lora lr=5e-3,1e-2,2e-2 seed=0,1,2", "hra lr=1e-3,1e-2 seed=0,1,2", "base", "sspace seed=0,1"]


@pytest.fixture
def sweep_path(tmp_path):
    return write(tmp_path, {"preset": "nano", "choose": "lr", "runs": LINES})


def write(folder: Path, values) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    return path


def record(store: Store, run: RunConfig, valid: float | None, failed_by: str = "run") -> None:
    """Put a run into the table, as failed where it has no score."""
    done = RunRecord.of(run, run.run_id)
    done.status = "failed" if valid is None else "ok"
    done.valid_accuracy = valid
    done.failed_by = failed_by if valid is None else None
    done.finished_at = "2026-01-01T00:00:00+00:00"
    append(store.table, done)


def names(planned) -> list[tuple]:
    return [(p.run.variant, p.run.lr, p.run.seed) for p in planned]


def test_a_choice_spends_the_other_seeds_on_the_best_rate_alone(sweep_path, tmp_path):
    store, sweep = Store(tmp_path / "results", tmp_path / "outputs"), read_sweep(sweep_path)
    first = due(plan(sweep, store))
    assert names(first) == [("lora", lr, 0) for lr in (5e-3, 1e-2, 2e-2)] + [("hra", lr, 0) for lr in (1e-3, 1e-2)] + [
        ("base", 1.0, 0), ("sspace", 1.0, 0), ("sspace", 1.0, 1),
    ]  # fmt: skip
    waiting = [p for p in plan(sweep, store) if p.state == "waiting"]
    assert {p.run.seed for p in waiting} == {1, 2}
    for p, valid in zip(first[:3], (0.4, 0.6, 0.5), strict=True):
        record(store, p.run, valid)
    now = plan(sweep, store)
    assert [n for n in names(due(now)) if n[0] == "lora"] == [("lora", 1e-2, 1), ("lora", 1e-2, 2)]
    assert all(p.run.lr == 1e-2 for p in now if p.run.variant == "lora" and p.run.seed > 0)
    assert [n for n in names(due(now)) if n[0] == "hra"] == [("hra", 1e-3, 0), ("hra", 1e-2, 0)]


def test_a_rate_whose_run_failed_is_never_chosen(sweep_path, tmp_path):
    store, sweep = Store(tmp_path / "results", tmp_path / "outputs"), read_sweep(sweep_path)
    for p, valid in zip(due(plan(sweep, store))[:3], (0.1, None, 0.05), strict=True):
        record(store, p.run, valid)
    assert [n for n in names(due(plan(sweep, store))) if n[0] == "lora"] == [("lora", 5e-3, 1), ("lora", 5e-3, 2)]


def test_no_rate_is_chosen_while_the_machine_owes_one_a_result(sweep_path, tmp_path):
    store, sweep = Store(tmp_path / "results", tmp_path / "outputs"), read_sweep(sweep_path)
    trials = due(plan(sweep, store))[:3]
    for p, valid in zip(trials, (0.1, None, 0.05), strict=True):
        record(store, p.run, valid, failed_by="machine")
    planned = plan(sweep, store)
    assert [n for n in names(due(planned)) if n[0] == "lora"] == []
    assert [(p.run.lr, p.withholds_choice) for p in planned if p.state == "failed"] == [(1e-2, True)]
    assert sum(p.state == "waiting" and p.run.variant == "lora" for p in planned) == 6
    assert [n for n in names(due(planned, retry_before="9999")) if n[0] == "lora"] == [("lora", 1e-2, 0)]
    record(store, trials[1].run, 0.3)
    assert [n for n in names(due(plan(sweep, store))) if n[0] == "lora"] == [("lora", 1e-2, 1), ("lora", 1e-2, 2)]


def test_a_sweep_that_waits_for_a_rate_says_which_and_what_to_do(tmp_path):
    path = write(tmp_path, {"preset": "nano", "choose": "lr", "runs": ["lora lr=5e-3,1e-2 seed=0,1"]})
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for p, valid in zip(due(plan(read_sweep(path), store)), (0.1, None), strict=True):
        record(store, p.run, valid, failed_by="machine")
    done = bench("sweep", path, "--results", store.results, "--outputs", store.outputs, cwd=tmp_path, expect=1)
    assert done.stderr.splitlines()[-2] == (
        "2 runs wait for the choice of a learning rate: lora lr=0.01 failed by the machine; --retry-failed makes it "
        "again"
    )


def test_a_failed_run_chooses_no_rate_even_where_its_row_says_a_score(sweep_path, tmp_path):
    store, sweep = Store(tmp_path / "results", tmp_path / "outputs"), read_sweep(sweep_path)
    for p, valid in zip(due(plan(sweep, store))[:3], (0.1, 0.9, 0.05), strict=True):
        done = RunRecord.of(p.run, p.run_id)
        done.status, done.valid_accuracy = "failed" if valid == 0.9 else "ok", valid
        append(store.table, done)
    assert [n for n in names(due(plan(sweep, store))) if n[0] == "lora"] == [("lora", 5e-3, 1), ("lora", 5e-3, 2)]


def test_a_sweep_goes_on_with_the_rate_that_the_report_shows(tmp_path):
    """Whichever runs others have made already: here every rate on two seeds, whose means and seeds disagree."""
    store = Store(tmp_path / "results", tmp_path / "outputs")
    valid = {(1e-2, 0): 0.6, (1e-1, 0): 0.5, (1e-2, 1): 0.1, (1e-1, 1): 0.9}
    for (lr, seed), value in valid.items():
        append(store.table, finished(store, "lora", [0, 1], fields={"valid_accuracy": value}, lr=lr, seed=seed))
    path = write(tmp_path, {"preset": "nano", "choose": "lr", "runs": ["lora lr=1e-2,1e-1 seed=0,1,2"]})
    for seeds in ([1], [1, 2]):
        (arm,) = sections(store)[0].arms
        assert (arm.lr, [record.seed for record in arm.records]) == (1e-2, seeds)
        for p in due(plan(read_sweep(path), store)):
            assert (p.run.lr, p.run.seed) == (1e-2, 2)
            append(store.table, finished(store, "lora", [0], lr=p.run.lr, seed=p.run.seed))


def test_a_tie_of_a_sweep_is_decided_by_the_loss_as_in_the_report(sweep_path, tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for p, loss in zip(due(plan(read_sweep(sweep_path), store))[:3], (0.7, 0.5, 0.6), strict=True):
        done = RunRecord.of(p.run, p.run_id)
        done.status, done.valid_accuracy, done.valid_loss = "ok", 0.4, loss
        append(store.table, done)
    assert {n[1] for n in names(due(plan(read_sweep(sweep_path), store))) if n[0] == "lora"} == {1e-2}


def test_what_has_one_rate_waits_for_no_choice(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    path = write(tmp_path, {"preset": "nano", "choose": "lr", "runs": ["sspace seed=0,1", "lora lr=1e-2 seed=0,1"]})
    assert len(due(plan(read_sweep(path), store))) == 4


def test_a_rate_added_later_reopens_the_choice_and_remakes_nothing(sweep_path, tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for p, valid in zip(due(plan(read_sweep(sweep_path), store))[:3], (0.4, 0.5, 0.6), strict=True):
        record(store, p.run, valid)
    wider = read_sweep(write(tmp_path, {"preset": "nano", "choose": "lr", "runs": ["lora lr=1e-2,2e-2,4e-2 seed=0,1"]}))
    assert names(due(plan(wider, store))) == [("lora", 4e-2, 0)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"runs": "lora"}, "expected `runs:`"),
        ({"runs": ["lora"], "chose": "lr"}, "did you mean 'choose'"),
        ({"runs": ["lora"], "choose": "rank"}, "only lr can be chosen"),
        ({"runs": ["rank=8"]}, "names no variant"),
        ({"runs": ["lore"]}, "did you mean 'lora'"),
        ({"runs": ["lora"], "preset": "nan"}, "did you mean 'nano'"),
        ({"runs": []}, "is empty"),
        ({"runs": ["lora eval.valid=none"], "choose": "lr"}, "needs validation questions"),
        ({"runs": ["lora lr=1e-3", "lora lr=1e-2 seed=5"], "choose": "lr"}, "make one line of them"),
        ([], "expected a mapping of keys to values"),
    ],
)
def test_a_mistake_in_a_sweep_file_is_one_clear_error(tmp_path, values, said):
    with pytest.raises(UserError, match=said):
        read_sweep(write(tmp_path, values))
    with pytest.raises(UserError, match=r"absent\.yaml: cannot be read"):
        read_sweep(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="is a sweep file, and lora no setting"):
        sweep_of([str(tmp_path / "sweep.yaml"), "lora"], None)


def test_the_committed_sweeps_can_be_read_and_cover_every_variant():
    import antipasto

    folder = Path(__file__).parents[3] / "benchmark/sweeps"
    sweeps = [read_sweep(path) for path in folder.glob("*.yaml")]
    assert sweeps
    nano = read_sweep(folder / "nano.yaml")
    assert {run.variant for run in nano.runs} > {"base", *antipasto.CONFIGS}


@pytest.mark.long
def test_a_shipped_sweep_is_read_by_its_name_from_any_folder(tmp_path, monkeypatch):
    shipped = read_sweep(Path(__file__).parents[3] / "benchmark/sweeps/nano.yaml")
    monkeypatch.chdir(tmp_path)
    for name in ("nano.yaml", "benchmark/sweeps/nano.yaml"):
        sweep = sweep_of([name], None)
        assert [run.run_id for run in sweep.runs] == [run.run_id for run in shipped.runs]
        assert sweep.choose == shipped.choose


def test_a_sweep_file_of_the_current_folder_wins_over_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"preset": "nano", "runs": ["sspace"]}).rename(tmp_path / "nano.yaml")
    assert [run.variant for run in sweep_of(["nano.yaml"], None).runs] == ["sspace"]
    assert find_sweep("nano.yaml") == Path("nano.yaml")


def test_settings_beside_a_sweep_file_hold_for_all_of_its_runs(tmp_path):
    path = write(tmp_path, {"preset": "nano", "runs": ["lora seed=0,1 steps=5", "antipasto rotate_basis=V"]})
    runs = sweep_of([str(path), "steps=7", "data.limit=30"], None).runs
    assert [(run.variant, run.seed, run.steps, run.data.limit) for run in runs] == [
        ("lora", 0, 7, 30),
        ("lora", 1, 7, 30),
        ("antipasto", 0, 7, 30),
    ]
    with pytest.raises(UserError, match="is a sweep file, and lora no setting; beside it write settings"):
        sweep_of([str(path), "lora"], None)


def test_an_unknown_sweep_file_names_the_nearest_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nanno.yaml", "benchmark/sweeps/nanno.yaml"):
        with pytest.raises(UserError, match=rf"^{name}: no such sweep file; did you mean 'nano.yaml'\? \(known: adapt"):
            sweep_of([name], None)


@pytest.mark.slow
@pytest.mark.long
def test_a_sweep_file_is_made_from_choice_to_last_seed(tmp_path):
    """Real runs: two rates, one of them hopeless, on one seed; then the other seed at the better one."""
    words = " ".join(QUICK)
    line = f"antipasto_gain lr=1e-9,5e-2 seed=0,1 {words} steps=40".replace("steps=8 ", "")
    path = write(tmp_path, {"preset": "nano", "choose": "lr", "runs": [line]})
    done = bench("sweep", path, cwd=tmp_path)
    assert done.stdout.count("done: ") == 3
    rows = [json.loads(row) for row in (tmp_path / "results/table.ndjson").read_text().splitlines()]
    valid = {row["lr"]: row["valid_accuracy"] for row in rows if row["seed"] == 0}
    assert valid.keys() == {1e-9, 5e-2}
    best = max(valid, key=lambda lr: (valid[lr], -lr))
    assert [row["lr"] for row in rows if row["seed"] == 1] == [best]
    page = bench("report", "--readme", "page.md", cwd=tmp_path).stdout
    assert "Learning rates tried" in page
    assert page.count("| antipasto_gain") == 2, "a row of scores and one of costs"
    assert "3 runs: 3 done" in bench("sweep", path, "--dry-run", cwd=tmp_path).stdout
