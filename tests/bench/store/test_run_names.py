"""Claims about the names of runs: what a user types is compared with the ids of the table, and never becomes a path."""

import pytest
from recorded import record

from antipasto_bench.core.errors import UserError
from antipasto_bench.store.folders import Store
from antipasto_bench.store.run_names import run_ids_named, run_named
from antipasto_bench.store.table import append


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    store = Store(folder / "results", folder / "outputs")
    for seed in range(7):
        append(store.table, record(store, "lora", [0], seed=seed))
    append(store.table, record(store, "dora", [0]))
    return store


def test_a_run_is_named_by_its_id_the_beginning_of_one_alone_or_its_last_eight_digits(store):
    (dora,) = run_ids_named(["nano__dora"], store.table)
    assert dora.startswith("nano__dora__r16")
    assert run_ids_named([dora, dora[-8:], "nano__lora__r16__lr0.01__s300__seed3"], store.table)[:2] == [dora, dora]


def test_an_id_that_begins_another_id_names_its_own_run(store):
    lora = record(store, "lora", [0])
    longer = record(store, "lora", [0], fields={"run_id": f"{lora.run_id}0"})
    assert run_named(lora.run_id, [longer, lora], store.table) is lora


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "nano__lora",
            r"'nano__lora' names 7 runs: (nano__lora__\S+, ){4}nano__lora__\S+ and 2 more; write more of one",
        ),
        ("nano__drra__r16__lr0.01", r"no run 'nano__drra__r16__lr0\.01' in \S+; the nearest: nano__dora__r16"),
        ("", r"no run '' in "),
        ("*", r"no run '\*' in \S+; `antipasto-bench list` shows them all"),
        ("../results/table", r"no run '\.\./results/table' in "),
        ("0", "no run '0' in "),
        ("x" * 100_000, "no run 'x{200}' in "),
    ],
)
def test_a_name_of_no_run_or_of_several_is_one_line_with_the_nearest_ids(store, name, said):
    with pytest.raises(UserError, match=said):
        run_ids_named([name], store.table)


def test_a_file_in_outputs_is_no_run(store):
    (store.outputs / "nano__stray__00000000").mkdir(parents=True)
    with pytest.raises(UserError, match="no run 'nano__stray"):
        run_ids_named(["nano__stray__00000000"], store.table)
