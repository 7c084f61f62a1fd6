"""Claims about sentences on test questions that runs were trained or chosen on: which runs, how many, and none else."""

import pytest
from recorded import PROVENANCE, record

from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.analysis.contamination import contamination
from antipasto_bench.store.folders import Store
from antipasto_bench.store.origins import DataDigest
from antipasto_bench.store.table import append

COPIES, SHARED = {"copies": 5, "shared_13_grams": 0}, {"copies": 0, "shared_13_grams": 3}
TRAINED = "Trained on copies of test questions, which their test % therefore overstates:"
CHOSEN = "Learning rates were chosen on validation questions that are test questions:"


def sentences(tmp_path, overlaps, setting="allow", repeated=0, rows=None):
    """Of a table of two seeds of lora and one of ia3 with these overlaps, and the base."""
    store = Store(tmp_path / "results", tmp_path / "outputs")
    runs = [("lora", 0), ("lora", 1), ("ia3", 0), ("base", 0)]
    data = {"test:gsm8k": DataDigest(rows=8, sha256="0" * 64, repeated=repeated)}
    if rows is not None:
        data["train"] = DataDigest(rows=rows, sha256="0" * 64)
    for (variant, seed), overlap in zip(runs, [*overlaps, {}, {}, {}, {}], strict=False):
        origin = PROVENANCE.model_copy(update={"test_overlap": overlap, "data": data})
        given = {"data.overlap": setting} | ({} if variant == "base" else {"seed": seed})
        append(store.table, record(store, variant, [0, 1, seed], fields={"provenance": origin}, **given))
    (section,) = compared_sections(store)
    return contamination(section.section.arms)


@pytest.mark.parametrize(
    ("overlaps", "said"),
    [
        ([], []),
        ([COPIES], [f"{TRAINED} lora r=16 (5 in 1 of 2 runs)."]),
        ([COPIES, COPIES], [f"{TRAINED} lora r=16 (5)."]),
        ([SHARED] * 3, ["Trained on rows that share 13 words in a row with a test question: 3 in every run."]),
        ([{}, {}, {"validation": 2}], [f"{CHOSEN} ia3 (2)."]),
        ([{}, {}, {}, {"copies": 5, "validation": 2}], []),  # the base is not trained, and has no learning rate
        ([{"validation_rows": 7}] * 2, ["Training rows that ask a validation question were left out: lora r=16 (7)."]),
    ],
)
def test_each_kind_is_said_of_the_arms_that_it_concerns(tmp_path, overlaps, said):
    assert sentences(tmp_path, overlaps) == said


def test_what_was_dropped_is_not_said_to_have_been_trained_on(tmp_path):
    assert sentences(tmp_path, [COPIES | SHARED | {"validation": 1}] * 3, "drop") == []


def test_the_number_of_training_rows_stands_beside_where_every_run_says_it(tmp_path):
    assert sentences(tmp_path, [SHARED] * 3, rows=8000) == [
        "Trained on rows that share 13 words in a row with a test question (among 8,000 rows): 3 in every run."
    ]


def test_questions_that_a_test_has_twice_are_said(tmp_path):
    assert sentences(tmp_path, [], repeated=3) == ["gsm8k has 3 questions twice; each counts once."]
