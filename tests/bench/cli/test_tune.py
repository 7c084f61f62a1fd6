"""Claims about `tune` as a user types it: equal budgets, nothing made twice, and a sweep of what was chosen."""

import json

import pytest
from command import bench
from recorded import record

from antipasto_bench.spec.sweep import read_sweep
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append
from antipasto_bench.store.trials import read_trials

pytestmark = pytest.mark.slow
SHORT = ["steps=12", "batch_size=4", "eval.valid_limit=6", "--steps", "4"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """lora with two ranks and ia3, four trials each."""
    folder = tmp_path_factory.mktemp("tuned")
    folder.joinpath("said").write_text(tune("lora,ia3", "rank=4,16", "--budget", 6, *SHORT, cwd=folder).stdout)
    return folder


def tune(*words, cwd, expect=0):
    return bench("tune", *words, cwd=cwd, expect=expect)


def test_every_arm_has_the_same_number_of_trials_and_the_table_says_what_was_found(tuned):
    rows = {line.split("  ")[0]: line.split() for line in (tuned / "said").read_text().splitlines()[1:]}
    assert list(rows) == ["lora rank=4", "lora rank=16", "ia3"]
    trials = read_trials(Store.of(tuned / "results"))
    assert [sum(trial.variant == variant for trial in trials) for variant in ("lora", "ia3")] == [6, 6]
    assert sum(line[-1] == "*" for line in rows.values()) == 1  # the better rank
    assert min(trial.seed for trial in trials) == 1000
    assert all(trial.steps == 4 for trial in trials)


def test_a_finished_tune_makes_nothing_and_a_larger_budget_goes_on_from_its_end(tuned):
    path = tuned / "results/tune/trials.ndjson"
    before = path.read_bytes()
    assert tune("lora,ia3", "rank=4,16", "--budget", 6, *SHORT, cwd=tuned).stdout == (tuned / "said").read_text()
    assert path.read_bytes() == before
    plan = tune("lora,ia3", "rank=4,16", "--budget", 7, *SHORT, "--dry-run", cwd=tuned).stdout
    assert "2 arms x 7 trials: 2 owed, at most about" in plan
    tune("ia3", "--budget", 7, *SHORT, cwd=tuned)
    after = path.read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == before.count(b"\n") + 1


def test_the_chosen_settings_are_a_sweep_and_a_drawing_lies_beside_it(tuned):
    (path,) = (tuned / "outputs/tune").glob("*-lora-ia3-rank.yaml")
    sweep = read_sweep(path)
    assert [(run.variant, run.seed, run.steps) for run in sweep.runs] == [
        (variant, seed, 12) for variant in ("lora", "ia3") for seed in (0, 1, 2)
    ]
    plan = bench("sweep", path, "--dry-run", cwd=tuned).stdout
    assert "6 runs: 6 owed" in plan
    drawing = path.with_suffix(".svg").read_text()
    assert drawing.startswith("<svg")
    assert "lora: rank" in drawing  # the heat map, and the line of the arm that has no rank
    assert ">ia3<" in drawing


def test_the_report_says_how_settings_were_searched_and_verify_knows_the_trials(tuned):
    store = Store.of(tuned / "results", tuned / "outputs")
    append(store.table, record(store, "lora", [0, 1, 2]))
    bench("report", cwd=tuned)
    page = (tuned / "docs/results.md" if (tuned / "docs").exists() else store.results / "results.md").read_text()
    section = page.partition("### How settings were searched")[2]
    assert "held-out loss of the validation questions alone" in section
    assert "| lora rank=4 " in section
    (figure,) = store.results.glob("figures/tune-????????-search.svg")
    assert figure.name in section
    damaged = store.trials.read_bytes()
    store.trials.write_bytes(damaged.replace(b'"seed": 1000', b'"seed": 1001', 1))
    said = bench("results", "verify", cwd=tuned, expect=1).stdout
    store.trials.write_bytes(damaged)
    assert "tune/trials.ndjson, line 1: not what was written" in said


def test_mistakes_are_a_line_and_leave_nothing(tmp_path):
    for words, said in (
        (["lora", "--seed", "x"], "--seed x: expected whole numbers"),
        (["lora", "--seed", "0"], "seeds below 1000 are those of results"),
        (["loraa"], "did you mean 'lora'"),
        (["lora", "--budget", "2"], "write --budget 3"),
    ):
        assert said in tune(*words, cwd=tmp_path, expect=2).stderr
    assert not list(tmp_path.iterdir())


def test_plan_as_json_is_a_line_an_arm(tmp_path):
    lines = tune("lora,ia3", "--budget", 5, "--dry-run", "--json", cwd=tmp_path).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"arm": arm, "trials": 5, "made": 0, "steps": 100} for arm in ("lora", "ia3")
    ]
