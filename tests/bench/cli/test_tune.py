"""Claims about `tune` as a user types it: equal budgets, nothing made twice, and a sweep of what was chosen."""

import json
import os
import signal
import time
from contextlib import suppress

import pytest
from command import bench, start
from recorded import record

from antipasto_bench.spec.sweep import read_sweep
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append
from antipasto_bench.store.trials import read_trials

pytestmark = pytest.mark.slow
SHORT = ["steps=6", "batch_size=4", "eval.valid_limit=6", "--steps", "2"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """lora with two ranks and ia3, eight trials each, of which four are whole runs."""
    folder = tmp_path_factory.mktemp("tuned")
    folder.joinpath("said").write_text(tune("lora,ia3", "rank=4,16", "--budget", 8, *SHORT, cwd=folder).stdout)
    return folder


def tune(*words, cwd, expect=0):
    return bench("tune", *words, cwd=cwd, expect=expect)


def test_every_arm_has_the_same_number_of_trials_and_the_table_says_what_was_found(tuned):
    rows = [line.split() for line in (tuned / "said").read_text().splitlines()[1:]]
    said = [" ".join(row[:3] if row[0] == "ia3" else row[:4]) for row in rows]  # arm, steps, trials
    assert said == ["lora rank=4 2 2", "lora rank=4 6 2", "lora rank=16 2 2", "lora rank=16 6 2", "ia3 2 4", "ia3 6 4"]
    chosen = [said[index].split() for index, row in enumerate(rows) if row[-1] == "*"]
    assert [(words[0], words[-2]) for words in chosen] == [("lora", "6"), ("ia3", "6")]  # by the whole runs
    trials = read_trials(Store.of(tuned / "results"))
    for variant in ("lora", "ia3"):
        assert sorted(trial.steps for trial in trials if trial.variant == variant) == [2] * 4 + [6] * 4
    assert min(trial.seed for trial in trials) == 1000


def test_a_finished_tune_makes_nothing_and_a_larger_budget_goes_on_from_its_end(tuned):
    path = tuned / "results/tune/trials.ndjson"
    before = path.read_bytes()
    left = Store.of(tuned / "results", tuned / "outputs").workspace(json.loads(before.splitlines()[0])["trial_id"])
    left.path.mkdir(parents=True)  # of a trial that was killed behind its last line
    assert tune("lora,ia3", "rank=4,16", "--budget", 8, *SHORT, cwd=tuned).stdout == (tuned / "said").read_text()
    assert path.read_bytes() == before
    assert not left.path.exists()
    plan = tune("ia3", "rank=4,16", "--budget", 10, *SHORT, "--dry-run", cwd=tuned).stdout
    assert "8 + 2" in plan
    assert "4 + 0" in plan
    assert "1 arms x 10 trials: 6 owed, at most about" in plan
    tune("ia3", "rank=4,16", "--budget", 10, *SHORT, cwd=tuned)
    after = path.read_bytes()
    assert after.startswith(before)
    ids = [json.loads(line)["trial_id"] for line in after.splitlines()]
    assert len(set(ids)) == len(ids)
    assert 4 <= len(ids) - before.count(b"\n") <= 6  # four short ones, and the finals that these lead to


def test_the_chosen_settings_are_a_sweep_and_a_drawing_lies_beside_it(tuned):
    (path,) = (tuned / "outputs/tune").glob("*-lora-ia3-rank.yaml")
    sweep = read_sweep(path)
    assert [(run.variant, run.seed, run.steps) for run in sweep.runs] == [
        (variant, seed, 6) for variant in ("lora", "ia3") for seed in (0, 1, 2)
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
        (["lora,base"], "base trains nothing, so it has no learning rate to tune; leave it out"),
        (["lora", "--workers-per-gpu", "2"], "workers_per_gpu=2: this machine shows no GPU"),
        (["lora", "engine=ray"], "engine=ray: trials are made on this machine"),
    ):
        assert said in tune(*words, cwd=tmp_path, expect=2).stderr
    assert not list(tmp_path.iterdir())


def test_plan_as_json_is_a_line_an_arm(tmp_path):
    lines = tune("lora,ia3", "--budget", 5, "--dry-run", "--json", cwd=tmp_path).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"arm": arm, "trials": {"100": 3, "300": 2}, "made": {"100": 0, "300": 0}} for arm in ("lora", "ia3")
    ]


@pytest.mark.long
def test_a_search_that_is_killed_in_a_short_and_in_a_whole_trial_ends_as_one_that_was_not(tmp_path):
    words = ["lora", "steps=30", "batch_size=4", "eval.valid_limit=6", "checkpoint=5", "--steps", "20", "--budget", 4]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    tune(*words, cwd=whole)
    store = Store.of(killed / "results", killed / "outputs")
    for made in (1, 2):  # a short trial is under way, and a whole one
        process = start("tune", *words, cwd=killed)
        _wait_for_a_checkpoint(process, store, made)
        process.kill()
        process.wait(60)
        assert len(read_trials(store)) == made
    tune(*words, cwd=killed)
    ends = [
        [(trial.trial_id, trial.state, trial.losses, trial.last_loss) for trial in read_trials(each)]
        for each in (Store.of(whole / "results"), store)
    ]
    assert ends[0] == ends[1]
    assert [trial.steps for trial in read_trials(store)] == [20, 20, 30, 30]
    assert not list(store.workspace("x").path.parent.glob("trial__*"))


@pytest.mark.long
def test_workers_of_which_one_is_killed_make_the_trials_of_one_process_and_an_arm_that_cannot_be_made_stops_none(
    tuned, tmp_path
):
    words = ["peft:adaption_prompt,lora,ia3", "rank=4,16", "--budget", 8, *SHORT, "--workers", 2]
    store = Store.of(tmp_path / "results", tmp_path / "outputs")
    process = start("tune", *words, cwd=tmp_path)
    os.kill(_worker_at_work(process, store), signal.SIGKILL)
    out, err = process.communicate(200)
    assert process.returncode == 1, err
    assert err.count("died of SIGKILL while making trial__") == 1
    assert err.count("refused: peft:adaption_prompt: ") == 1
    assert "peft:adaption_prompt: 0 of 8 trials are made, so it is not in" in err
    made, of_one = (
        {t.trial_id: (t.state, t.losses) for t in read_trials(s)} for s in (store, Store.of(tuned / "results"))
    )
    assert made.items() <= of_one.items()  # another test has made more of ia3
    assert len(store.trials.read_text().splitlines()) == len(made) == 16
    (path,) = (tmp_path / "outputs/tune").glob("*.yaml")
    assert [run.variant for run in read_sweep(path).runs] == ["lora"] * 3 + ["ia3"] * 3
    assert "lora rank=16" in out


def test_workers_that_can_make_no_arm_end_as_one_process_does(tmp_path):
    for workers in (2, 1):
        words = ["lora,ia3", "targets=nothing", *SHORT, "--budget", 4, "--workers", workers]
        said = tune(*words, cwd=tmp_path, expect=2).stderr
        for arm in ("lora", "ia3"):
            assert said.count(f"refused: {arm} targets=nothing: ") == 1
        assert said.rstrip().endswith("error: none of 2 arms can be made, see above")
    assert not list(tmp_path.rglob("*.ndjson"))


def _worker_at_work(process, store):
    """The process of a worker that trains."""
    deadline = time.time() + 120
    while time.time() < deadline and process.poll() is None:
        for note in store.locks.glob("trial__*.json"):
            with suppress(OSError, ValueError):
                if store.workspace(note.stem).log.exists():
                    return int(json.loads(note.read_text())["pid"])
        time.sleep(0.002)
    raise AssertionError("no trial has begun to train")


def _wait_for_a_checkpoint(process, store, made):
    """Until the trial after so many recorded ones has a checkpoint."""
    begun = store.workspace("x").path.parent
    deadline = time.time() + 120
    while time.time() < deadline and process.poll() is None:
        with suppress(FileNotFoundError):
            lines = store.trials.read_text().splitlines()
            recorded = {json.loads(line)["trial_id"] for line in lines}
            if len(lines) == made and {path.parts[-3] for path in begun.glob("*/checkpoints/step-*")} - recorded:
                return
        time.sleep(0.002)
    raise AssertionError("no checkpoint")
