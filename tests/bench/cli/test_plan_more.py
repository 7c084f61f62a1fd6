"""Claims about `plan-more`: the commands that it prints make the runs that it means."""

import json
import math
import shlex

import pytest
from command import bench
from recorded import failed, record
from small_runs import store_in

from antipasto_bench.analysis.plan import Plan, write_plan
from antipasto_bench.spec.compose import expand
from antipasto_bench.spec.grammar import parse_words
from antipasto_bench.store.table import append, read_records

RIGHT = {"lora": (12, 16, 20), "dora": (20, 26, 23), "pissa": (14, 19, 16), "ia3": (2, 6, 10)}  # of 80, by seed
TIMES = {"total_s": 60.0, "measure_s": 3.0}


@pytest.fixture
def store(tmp_path):
    store = store_in(tmp_path)
    for variant, of_seeds in RIGHT.items():
        for seed, right in enumerate(of_seeds):
            given = {"rank": 8} if variant == "dora" else {}
            made = record(store, variant, [*range(right)], 80, TIMES, seed=seed, **given)
            append(store.table, made)
    return store


def more(store, tmp_path, *words, expect=0):
    return bench("plan-more", *words, "--results", store.results, cwd=tmp_path, expect=expect)


@pytest.mark.slow
def test_its_commands_make_further_seeds_of_the_undecided_arms_and_the_reference(store, tmp_path):
    append(store.table, failed(store, "dora", "no memory", seed=4, rank=8).model_copy(update={"failed_by": "machine"}))
    append(store.table, failed(store, "lora", "diverged", seed=3).model_copy(update={"failed_by": "run"}))
    (section,) = map(json.loads, more(store, tmp_path, "--json", "--margin", "60").stdout.splitlines())
    assert section["undecided"] == [], "none is worse by 60 points"
    (section,) = map(json.loads, more(store, tmp_path, "--json").stdout.splitlines())
    assert section["reference"] == "lora r=16"
    arms = {r.arm: r for r in read_records(store.table) if r.status == "ok"}
    made = {(r.arm, r.seed) for r in read_records(store.table) if r.failed_by != "machine"}
    assert {each["arm"] for each in section["next"]} >= {"lora r=16", "dora r=8"}
    for each in section["next"]:
        program, command, *words = shlex.split(each["command"])
        assert (program, command) == ("antipasto-bench", "run" if len(each["seeds"]) == 1 else "sweep")
        assert words[-2:] == ["--results", str(store.results)]
        runs = expand(*parse_words(words[:-2]))
        assert [run.seed for run in runs] == each["seeds"]
        assert {run.arm for run in runs} <= arms.keys()
        assert not {(run.arm, run.seed) for run in runs} & made
        assert each["seconds"] == 63.0 * len(runs)
        if each["arm"] == "dora r=8":
            assert each["seeds"][:2] == [3, 4], "what the machine failed is owed"
        if each["arm"] == "lora r=16":
            assert each["seeds"][0] == 4, "what diverged is an outcome"
    dora = next(each for each in section["undecided"] if each["arm"] == "dora r=8")
    assert dora["runs"] == [dora["seeds"] - 3, dora["seeds"] - 4], "the run that diverged is a seed of lora"
    assert dora["seconds"] == 63.0 * sum(dora["runs"])


@pytest.mark.slow
def test_it_says_what_decides_and_that_a_plan_of_one_look_is_used_up(store, tmp_path):
    text = more(store, tmp_path).stdout
    assert "undecided against lora r=16, margin 2 points" in text
    assert "Between lora r=16 and " in text
    assert "Its plan is of one look" in text
    assert "antipasto-bench sweep ia3 seed=3,4," in text
    assert "no held-out loss" not in text, "no run has one, so there is no column"
    one = more(store, tmp_path, "dora").stdout
    assert "pissa" not in one
    assert more(store, tmp_path, "ia3", "--margin", "60").stdout.splitlines()[-1] == (
        "no arm that was asked for is undecided against lora r=16"
    )


@pytest.mark.slow
def test_under_a_plan_that_looks_after_every_seed_more_are_needed_and_no_look_is_used_up(store, tmp_path):
    before = json.loads(more(store, tmp_path, "ia3", "--json").stdout)["undecided"][0]["seeds"]
    write_plan(Plan(looks="every seed"), store)
    after = json.loads(more(store, tmp_path, "ia3", "--json").stdout)["undecided"][0]["seeds"]
    assert before < (after or math.inf), "20 seeds an arm may not be enough"
    assert "Its plan is of one look" not in more(store, tmp_path).stdout


@pytest.mark.slow
def test_runs_that_no_words_make_any_more_get_a_reason_in_place_of_a_command(tmp_path):
    store = store_in(tmp_path)
    for variant, of_seeds in RIGHT.items():
        for seed, right in enumerate(of_seeds):
            made = record(store, variant, [*range(right)], 80, TIMES, seed=seed)
            older = made.config.eval.model_copy(update={"version": 1})
            made.config = made.config.model_copy(update={"eval": older})
            append(store.table, made)
    text = more(store, tmp_path).stdout
    assert "scored by rules 1, by which no run is made any more" in text
    assert "antipasto-bench sweep dora" not in text
    assert ", about" not in text


@pytest.mark.slow
def test_data_that_are_not_found_from_here_are_named(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    data = elsewhere / "rows.jsonl"
    data.write_text('{"query": "1 + 1?", "response": "The answer is: 2"}\n')
    store = store_in(tmp_path)
    for variant, of_seeds in RIGHT.items():
        for seed, right in enumerate(of_seeds):
            made = record(store, variant, [*range(right)], 80, TIMES, seed=seed, **{"data.train": str(data)})
            append(store.table, made)
    text = more(store, tmp_path).stdout
    assert "since data.train=rows.jsonl" in text.replace("model=nano or ", "")
    assert "give the path" in text


@pytest.mark.slow
def test_mistakes_and_tables_without_a_conclusion_are_one_line(store, tmp_path):
    assert "expected a number above 0" in more(store, tmp_path, "--margin", "-1", expect=2).stderr
    assert "did you mean" in more(store, tmp_path, "rnak=3", expect=2).stderr
    write_plan(Plan("hra"), store)
    assert more(store, tmp_path).stdout.splitlines()[1] == "it has no arm that is the reference, 'hra'"
    few = store_in(tmp_path / "few")
    for variant in ("lora", "dora"):
        append(few.table, record(few, variant, [0, 1], seed=0))
    assert "nothing may be concluded yet" in more(few, tmp_path).stdout
