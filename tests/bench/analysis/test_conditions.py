"""Claims about runs that were not made alike: one sentence says what differs, and none where nothing does."""

import pytest
from recorded import PROVENANCE, record

from antipasto_bench.analysis.compare import compare_two
from antipasto_bench.analysis.compared_sections import compared_sections, failures
from antipasto_bench.analysis.conditions import mixed_conditions
from antipasto_bench.cli.output import comparison_text
from antipasto_bench.report.markdown import markdown
from antipasto_bench.report.write import HTML, write_report
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

HERE = PROVENANCE.model_copy(update={"instructions": "AVX2", "packages": {"torch": "2.13.0"}})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def sentence(store, *updates) -> str:
    """Of a table of three seeds of lora and one of ia3, made under HERE but for these updates, one a run."""
    runs = [("lora", 0), ("lora", 1), ("lora", 2), ("ia3", 0)]
    for (variant, seed), update in zip(runs, [*updates, {}, {}, {}, {}], strict=False):
        origin = HERE.model_copy(update=update)
        append(store.table, record(store, variant, [0, 1, seed], seed=seed, fields={"provenance": origin}))
    (section,) = compared_sections(store)
    return mixed_conditions(section.section.arms)


def test_runs_that_were_made_alike_have_no_sentence(store):
    assert sentence(store) == ""
    text = markdown(compared_sections(store), failures(store))
    assert "made alike" not in text


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
            "hardware cpu-of-a-test (3 runs) and H100 (1 run: lora r=16); device cpu (3 runs) and cuda (1 run: lora "
            "r=16)",
        ),
    ],
)
def test_the_sentence_names_what_differs_and_whose_runs_they_are(store, update, said):
    expected = f"These runs were not all made alike, and results depend on it: {said}."
    assert sentence(store, update) == expected
    sections = compared_sections(store)
    assert expected in markdown(sections, failures(store)).replace("\n", " ")


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
    write_report(store, tmp_path / "README.md")
    assert said in (store.results / HTML).read_text()
    assert said in (tmp_path / "README.md").read_text()
    assert said in comparison_text(compare_two("lora", "ia3", store), {"only_a": [], "only_b": []})
