"""Claims about runs that were not made alike: one sentence says what differs, and none where nothing does."""

import pytest
from recorded import PROVENANCE, record

from antipasto_bench.analysis.compare import compare_two
from antipasto_bench.analysis.compared_sections import compared_sections, failures
from antipasto_bench.analysis.conditions import mixed_conditions
from antipasto_bench.cli.comparison_output import comparison_text
from antipasto_bench.report.html import HTML
from antipasto_bench.report.markdown import markdown
from antipasto_bench.report.write import write_report
from antipasto_bench.store.folders import Store
from antipasto_bench.store.origins import DataDigest
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import append

HERE = PROVENANCE.model_copy(update={"instructions": "AVX2", "packages": {"torch": "2.13.0"}})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def sentence(store, *updates) -> str:
    """Of a table of three seeds of lora and one of ia3, made under HERE but for these updates, one a run."""
    runs = [("lora", 0), ("lora", 1), ("lora", 2), ("ia3", 0)]
    for (variant, seed), update in zip(runs, [*updates, {}, {}, {}, {}], strict=False):
        fields = {name: value for name, value in update.items() if name in RunRecord.model_fields}
        origin = HERE.model_copy(update={name: value for name, value in update.items() if name not in fields})
        append(store.table, record(store, variant, [0, 1, seed], seed=seed, fields={**fields, "provenance": origin}))
    (section,) = compared_sections(store)
    return mixed_conditions(section.section.arms)


def test_runs_that_were_made_alike_have_no_sentence(store):
    assert sentence(store) == ""
    text = markdown(compared_sections(store), failures(store))
    assert "made alike" not in text


def test_rows_of_merged_and_of_unmerged_weights_are_told_apart(store):
    merged, unmerged = {"merge_error": 0.009, "scored_merged": True}, {"merge_error": 0.02, "scored_merged": False}
    said = sentence(store, merged, merged, unmerged)
    assert "scored weights merged (2 runs) and unmerged (1 run: lora r=16)" in said


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({"threads": 1}, "threads 2 (3 runs) and 1 (1 run: lora r=16)"),
        ({"instructions": "AVX512"}, "instructions AVX2 (3 runs) and AVX512 (1 run: lora r=16)"),
        ({"instructions": None}, "instructions AVX2 (3 runs) and not recorded (1 run: lora r=16)"),
        ({"packages": {"torch": "2.14.0"}}, "torch 2.13.0 (3 runs) and 2.14.0 (1 run: lora r=16)"),
        ({"hardware": "another"}, "hardware cpu-of-a-test (3 runs) and another (1 run: lora r=16)"),
        (
            {"device": "cuda", "hardware": "H100", "threads": 8, "instructions": None, "cuda": {"cuda": "13.0"}},
            "hardware, device: cpu-of-a-test, cpu (3 runs) and H100, cuda (1 run: lora r=16)",
        ),
    ],
)
def test_the_sentence_names_what_differs_and_whose_runs_they_are(store, update, said):
    expected = f"These runs were not all made alike, and results depend on it: {said}."
    assert sentence(store, update) == expected
    sections = compared_sections(store)
    assert expected in markdown(sections, failures(store)).replace("\n", " ")


def test_steps_by_cuda_graphs_beside_plain_ones_are_said(store):
    gpu = {"provenance": HERE.model_copy(update={"device": "cuda", "cuda": {"cuda": "13.0"}, "threads": 8})}
    for variant, seed in [("lora", 0), ("lora", 1), ("ia3", 0), ("peft:lora", 0)]:
        row = record(store, variant, [0, 1, seed], seed=seed, fields=gpu)
        append(store.table, row.model_copy(update={"config": row.config.model_copy(update={"cuda_graphs": True})}))
    (section,) = compared_sections(store)
    expected = "kernels of a step replayed as graphs (3 runs) and launched one by one (1 run: peft:lora"
    assert expected in mixed_conditions(section.section.arms)


def test_seeds_of_one_arm_on_a_gpu_may_have_any_threads(store):
    gpu = {"device": "cuda", "hardware": "H100", "cuda": {"cuda": "13.0"}}
    assert sentence(store, *(gpu | {"threads": 1 + i} for i in range(4))) == ""
    assert "versions of CUDA cuda 13.0 (3 runs) and cuda 13.1 (1 run" in sentence(
        Store(store.results.parent / "other", store.outputs),
        gpu | {"cuda": {"cuda": "13.1"}},
        gpu,
        gpu,
        gpu,
    )


def test_the_page_and_a_comparison_of_two_arms_say_it_too(store, tmp_path):
    said = "threads 2 (3 runs) and 1 (1 run: ia3)"
    assert said in sentence(store, {}, {}, {}, {"threads": 1})
    write_report(store, tmp_path / "README.md", store.results / "results.md")
    assert said in (store.results / HTML).read_text()
    assert said in (store.results / "results.md").read_text()
    assert said in comparison_text(compare_two("lora", "ia3", store), {"only_a": [], "only_b": []})


def versions(**given: str | None) -> dict[str, object]:
    return {"packages": {"torch": "2.13.0"} | given}


def trained_on(digest: str, commit: str | None = None) -> dict[str, object]:
    return {"data": {"train": DataDigest(rows=8, sha256=digest * 8, commit=commit)}}


@pytest.mark.parametrize(
    ("usual", "update", "said"),
    [
        (
            versions(transformers="5.1"),
            versions(transformers="5.2"),
            "transformers 5.1 (3 runs) and 5.2 (1 run: lora r=16)",
        ),
        (
            versions(bitsandbytes="0.49"),
            versions(bitsandbytes=None),
            "bitsandbytes 0.49 (3 runs) and none (1 run: lora r=16)",
        ),
        (
            versions(transformers="5.1", lm_eval="1", tokenizers="3"),
            {"packages": {"torch": "2.14.0", "transformers": "5.2", "lm_eval": "2", "tokenizers": "4"}},
            "torch 2.13.0 (3 runs) and 2.14.0 (1 run: lora r=16); versions of lm_eval, tokenizers and transformers",
        ),
        (
            {"kernels": {"causal-conv1d": "1.5"}},
            {"kernels": {"causal-conv1d": None}},
            "kernels causal-conv1d 1.5 (3 runs) and causal-conv1d none (1 run: lora r=16)",
        ),
        ({"processes": 1}, {"processes": 2}, "processes 1 (3 runs) and 2 (1 run: lora r=16)"),
        ({}, {"train_rows_at_once": 4}, "rows trained at once all (3 runs) and 4 (1 run: lora r=16)"),
        (
            trained_on("0123abcd"),
            trained_on("4567abcd"),
            "digest of the training data 0123abcd (3 runs) and 4567abcd (1 run: lora r=16)",
        ),
    ],
)
def test_libraries_kernels_processes_and_training_data_are_compared(store, usual, update, said):
    mixed = sentence(store, update, usual, usual, usual)
    assert mixed == f"These runs were not all made alike, and results depend on it: {said}."


def test_what_older_records_lack_and_a_commit_that_brought_the_same_rows_make_no_difference(store):
    older = trained_on("0123abcd", commit="a") | {"processes": None}
    newer = trained_on("0123abcd", commit="b") | {"processes": 1} | versions(accelerate="1.12")
    assert sentence(store, older, older, newer, newer) == ""


def test_of_many_values_three_are_named(store):
    said = sentence(store, *({"threads": threads} for threads in (1, 2, 3, 4)))
    assert "threads 1 (1 run) and 2 (1 run: lora r=16) and 3 (1 run: lora r=16) and 1 more (1 run)." in said
