"""Claims about `compare`: it names what it compares, counts questions as they are, and shows what flipped."""

import json

import pytest
from command import bench
from recorded import record

from antipasto_bench.analysis.compare import duel, select
from antipasto_bench.core.errors import UserError
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for seed in range(3):
        append(store.table, record(store, "lora", [0, 1, 2, 3, 4], seed=seed))
        append(store.table, record(store, "antipasto", [0, 5], seed=seed))
        append(store.table, record(store, "antipasto", [0], seed=seed, rotate_basis="U"))
    append(store.table, record(store, "lora", [7], seed=0, lr=1e-3) | {"valid_accuracy": 0.1})
    return store


def test_questions_that_flip_are_counted_each_way(store):
    found = duel("lora", "antipasto rotate_basis=V", store)
    assert found.only_a == ["1", "2", "3", "4"]
    assert found.only_b == ["5"]
    assert found.found.difference == pytest.approx(3 / 8)
    assert found.found.low < 3 / 8 < found.found.high
    back = duel("antipasto rotate_basis=V", "lora", store)
    assert (back.only_a, back.only_b) == (found.only_b, found.only_a)
    assert back.found.difference == -found.found.difference
    assert back.found.p == found.found.p


def test_an_arm_is_named_by_its_settings_and_a_run_by_its_id(store):
    assert len(select("lora", store).rows) == 3, "the learning rate that the report shows"
    assert len(select("lora lr=1e-3", store).rows) == 1
    assert len(select("antipasto rotate_basis=U rank=64", store).rows) == 3
    one = select("antipasto rotate_basis=U seed=1", store).rows
    assert [row["seed"] for row in one] == [1]
    assert select(one[0]["run_id"], store).rows[0]["run_id"] == one[0]["run_id"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("antipasto", "names 2 arms .*add a setting"),
        ("hra", "no finished run is 'hra'"),
        ("lora lr=5", "no finished run"),
        ("lora antipasto", "write a run id, or one variant"),
        ("lora lr=1,2", "write a run id, or one variant"),
    ],
)
def test_what_names_nothing_or_too_much_is_one_clear_error(store, text, said):
    with pytest.raises(UserError, match=said):
        select(text, store)


def test_runs_on_different_questions_are_not_compared(store):
    append(store.table, record(store, "lora", [0], n=9, steps=7))
    with pytest.raises(UserError, match="different questions"):
        duel("lora lr=1e-2 steps=300", "lora steps=7", store)


@pytest.mark.slow
def test_the_command_shows_both_answers_to_what_flipped(tmp_path):
    words = ["steps=60", "batch_size=4", "eval.limit=60", "eval.valid_limit=6", "eval.batch_size=60", "costs=false"]
    bench("sweep", "base,lora", *words, cwd=tmp_path)
    done = bench("compare", "lora", "base", "--show", "2", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["questions"] == 60
    assert found["difference"] == pytest.approx((found["only_a"] - found["only_b"]) / 60)
    assert found["only_a"] > 0, "sixty steps teach something"
    for entry in found["shown"]["only_a"]:
        last = entry["target"].rsplit("#### ", 1)[1]
        assert last in entry["a"]
        assert not entry["b"].rstrip().endswith(last)
    text = bench("compare", "lora", "base", "--show", "1", cwd=tmp_path).stdout
    assert "right in A, wrong in B" in text
    assert "error: no finished run is 'dora'" in bench("compare", "lora", "dora", cwd=tmp_path, expect=2).stderr
