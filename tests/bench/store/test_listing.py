"""Claims about which runs `list` shows: filters are settings or recorded values, and a column sorts by its numbers."""

import pytest
from recorded import failed, record

from antipasto_bench.core.errors import UserError
from antipasto_bench.store.folders import Store
from antipasto_bench.store.listing import column_names, select_records, sort_records, value_of


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    store = Store(folder / "results", folder / "outputs")
    return [
        record(store, "lora", [0, 1], seed=0),
        record(store, "lora", [0], seed=1, rank=4),
        record(store, "antipasto", [0, 1, 2], seed=0),
        record(store, "delta_s", [0], seed=0),
        failed(store, "lora", "the loss is nan", seed=2, lr=1e-3),
        record(store, "base", []),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [0, 1, 2, 3, 4, 5]),
        (["variant=lora"], [0, 1, 4]),
        (["lora"], [0, 1, 4]),
        (["antipasto_rot,base"], [2, 5]),
        (["lora", "status=failed"], [4]),
        (["lr=1e-3"], [4]),
        (["lr=0.001"], [4]),
        (["seed=0"], [0, 2, 3]),
        (["seed=1,2"], [1, 4]),
        (["rank=4"], [1]),
        (["rank=full"], [3]),
        (["rotate_basis=V"], [2]),
        (["targets=.*_proj", "seed=1"], [1]),
        (["eval.limit=null", "variant=base"], [5]),
        (["test_accuracy=0.25"], [0]),
        (["seed=null"], [5]),
        (["status=failed", "variant=hra"], []),
    ],
)
def test_words_choose_the_runs_that_have_one_of_the_values_of_each(records, words, expected):
    assert [records.index(record) for record in select_records(records, words)] == expected


def test_a_column_sorts_by_numbers_and_runs_without_one_come_last(records):
    def order(column: str) -> list[int]:
        return [records.index(record) for record in sort_records(records, column)]

    assert order("test_accuracy") == [5, 1, 3, 0, 2, 4]
    assert order("-test_accuracy") == [2, 0, 1, 3, 5, 4]
    assert order("rank") == [1, 0, 4, 2, 3, 5], "4, 16, 16, 64, every direction, none"
    assert order("variant") == [2, 5, 3, 0, 1, 4]


def test_an_unknown_column_is_named_with_the_nearest(records):
    for call in (lambda: select_records(records, ["rnak=4"]), lambda: sort_records(records, "-rnak")):
        with pytest.raises(UserError, match=r"unknown column 'rnak'; did you mean 'rank'\?"):
            call()
    with pytest.raises(UserError, match=r"^unknown column 'zzzzzz' \("):
        sort_records([], "zzzzzz")
    with pytest.raises(UserError, match="variant is given twice"):
        select_records(records, ["lora", "variant=dora"])


def test_every_column_has_a_value_or_none_in_every_run(records):
    for column in column_names():
        assert len([value_of(record, column) for record in records]) == len(records)
    assert {"rank", "targets", "eval.limit", "status", "train_s", "rotate_basis"} <= {*column_names()}
    assert not {"config", "metrics", "provenance"} & {*column_names()}
