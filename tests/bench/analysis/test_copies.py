"""Claims about copies: distinct means distinct content, and a copy of a run is no seed."""

import pytest
from recorded import PROVENANCE, failed, record

from antipasto_bench.analysis.compare import compare_two
from antipasto_bench.analysis.compared_sections import compared_sections, failures
from antipasto_bench.analysis.sections import sections
from antipasto_bench.cli.comparison_output import comparison_text
from antipasto_bench.report.markdown import markdown
from antipasto_bench.report.write import write_report
from antipasto_bench.store.folders import Store
from antipasto_bench.store.origins import ModelSource
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import append, find_same


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results", tmp_path / "outputs")


def under_another_name(made: RunRecord, name: str, store: Store) -> RunRecord:
    """The row of the same run, its model in a folder of another name."""
    run_id = f"{name}__{made.run_id.partition('__')[2]}"
    copy = made.model_copy(update={"run_id": run_id, "model": name})
    store.items(run_id).write_bytes(store.items(made.run_id).read_bytes())
    return copy


def test_one_run_under_three_folder_names_is_one_seed(store):
    made = record(store, "lora", [0, 1, 2])
    for row in (made, under_another_name(made, "zwei", store), under_another_name(made, "drei", store)):
        append(store.table, row)
    (section,) = sections(store)
    (arm,) = section.arms
    assert len(arm.records) == 1
    text = markdown(compared_sections(store), [])
    assert "Copies of a run count once: " in text
    assert text.count("(the same settings, seed and content of the model)") == 2


def test_the_untuned_model_counts_once_too(store):
    made = record(store, "base", [0, 1])
    for row in (made, under_another_name(made, "zwei", store), record(store, "lora", [0])):
        append(store.table, row)
    (section,) = sections(store)
    assert [arm.variant for arm in section.arms].count("base") == 1
    assert "nano__base" in section.copies


LOSSES = {"first_loss": 2.0, "last_loss": 1.0, "mean_grad_norm": 0.5}


@pytest.mark.parametrize(
    ("fields", "seeds"),
    [
        ([{"adapter_sha256": 64 * "a"}, {"adapter_sha256": 64 * "a"}, {"adapter_sha256": 64 * "b"}], 2),
        ([LOSSES, LOSSES, LOSSES | {"last_loss": 1.1}], 2),
        ([{}, {}, {}], 3),  # older rows, which have neither
    ],
    ids=["one adapter", "one training", "nothing known"],
)
def test_one_content_under_several_seeds_counts_once(store, fields, seeds):
    for seed, values in enumerate(fields):
        append(store.table, record(store, "lora", [0, 1, 2], seed=seed, fields=values))
    (section,) = sections(store)
    assert len(section.arms[0].records) == seeds
    assert bool(section.copies) == (seeds < 3)


def test_other_answers_of_the_same_losses_are_another_run(store):
    for seed in range(2):
        append(store.table, record(store, "lora", [seed], seed=seed, fields=LOSSES))
    (section,) = sections(store)
    assert len(section.arms[0].records) == 2


def test_compare_says_that_both_sides_are_one_run(store):
    made = record(store, "lora", [0, 1, 2])
    copy = under_another_name(made, "zwei", store)
    for row in (made, copy):
        append(store.table, row)
    compared = compare_two(made.run_id, copy.run_id, store)
    ids = f"{made.run_id} and {copy.run_id} (the same settings, seed and content of the model)."
    assert f"A and B have a run in common: {ids}" in comparison_text(compared, {"only_a": [], "only_b": []})
    itself = compare_two(made.run_id, made.run_id, store)
    assert itself.copies.startswith(f"A and B have a run in common: {made.run_id}. Copies of a run count once")


def test_the_table_gives_the_row_of_the_same_content_and_a_failure_of_it_is_not_listed(store):
    made = record(store, "lora", [0, 1, 2])
    append(store.table, made)
    other = f"zwei__{made.run_id.partition('__')[2]}"
    assert find_same(store.table, other).run_id == made.run_id
    assert find_same(store.table, f"{other}0") is None
    lost = failed(store, "lora", "why").model_copy(update={"run_id": other})
    append(store.table, lost)
    assert failures(store) == []


def test_headings_tell_two_models_of_one_name_apart_and_show_no_path(store):
    for digest, limit in (("a" * 64, 5), ("b" * 64, 6)):
        source = ModelSource(source=f"sha256:{digest}", commit=None)
        fields = {
            "provenance": PROVENANCE.model_copy(update={"model": source}),
            "model": f"/home/alice/{limit}/tuned",
        }
        append(store.table, record(store, "lora", [0, 1], fields=fields, **{"data.limit": limit}))
    titles = [section.title for section in compared_sections(store)]
    assert sorted(title.partition(":")[0] for title in titles) == ["tuned (sha256 aaaaaaaa)", "tuned (sha256 bbbbbbbb)"]
    write_report(store, store.results / "README.md", store.results / "results.md")
    for name in ("README.md", "report.html"):
        assert "home/alice" not in (store.results / name).read_text()
