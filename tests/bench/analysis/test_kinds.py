"""Claims about accuracy by kind: it shows at which kind a run fails, and stands in the page where there are kinds."""

import dataclasses
import json
import re
from typing import Any

import numpy as np
import pytest
from recorded import record

from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.analysis.kinds import accuracy_by_kind
from antipasto_bench.analysis.sections import sections
from antipasto_bench.report.by_kind import LONGEST_NAME, MOST_KINDS, kind_table
from antipasto_bench.report.html import page
from antipasto_bench.run.data import question_hash
from antipasto_bench.store.folders import Store
from antipasto_bench.store.kinds import questions_digest, write_kinds
from antipasto_bench.store.table import append

N = 100
QUESTIONS = [question_hash(str(i)) for i in range(N)]
KINDS = ["sums"] * 50 + ["ages <b>"] * 30 + ["shares"] * 20


def with_kinds(store: Store, kinds: list[str]) -> None:
    write_kinds(store.kinds(questions_digest(QUESTIONS)), dict(zip(QUESTIONS, kinds, strict=True)))


@pytest.fixture
def store(tmp_path):
    """A run that fails at one kind beside two that do not; and the base."""
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for seed, right in enumerate((range(95), range(50), range(90))):
        fields = {"test_stderr": 0.05}
        append(store.table, record(store, "lora", list(right), n=N, fields=fields, questions=QUESTIONS, seed=seed))
    append(store.table, record(store, "base", list(range(5)), n=N, questions=QUESTIONS))
    return store


def test_each_run_of_each_arm_is_counted_by_kind(store):
    with_kinds(store, KINDS)
    (section,) = sections(store)
    table = accuracy_by_kind(section.arms)
    assert table is not None
    assert (table.kinds, table.counts) == (("sums", "ages <b>", "shares"), (50, 30, 20))
    lora, base = table.arms
    np.testing.assert_allclose(lora.runs, [[1, 1, 0.75], [1, 0, 0], [1, 1, 0.5]], atol=1e-12)
    np.testing.assert_allclose(lora.means, [1, 2 / 3, 1.25 / 3], atol=1e-12)
    np.testing.assert_allclose(base.runs, [[0.1, 0, 0]], atol=1e-12)
    for arm, row in zip(section.arms, table.arms, strict=True):  # the whole is the sum of its parts
        np.testing.assert_allclose(row.runs @ np.array(table.counts) / N, arm.scores.mean(axis=1))


def test_arms_without_kinds_or_with_other_questions_are_no_rows(store):
    (section,) = sections(store)
    assert accuracy_by_kind(section.arms) is None
    with_kinds(store, KINDS)
    (section,) = sections(store)
    (without,) = [arm for arm in section.arms if arm.untuned]
    alone = [arm for arm in section.arms if not arm.untuned]
    table = accuracy_by_kind([*alone, dataclasses.replace(without, kinds=None)])
    assert table is not None
    assert [arm.name for arm in table.arms] == [alone[0].name]


def data_of(store: Store) -> dict[str, Any]:
    """What the page knows."""
    text = re.search(r'id="data">(.*?)</script>', page(compared_sections(store), [], store), flags=re.DOTALL)
    assert text is not None
    data: dict[str, Any] = json.loads(text[1])
    return data


def section_of(store: Store) -> dict[str, Any]:
    """What the page knows of the one table."""
    (section,) = data_of(store)["sections"]
    return section


def errors_of(store: Store) -> list[str]:
    """The standard error of each run's accuracy, as the page has it."""
    data = data_of(store)
    place = [column["meaning"] for column in data["runColumns"]].index("± one standard error")
    return [run["cells"][place] for run in data["runs"] if run["variant"] == "lora"]


def test_the_error_of_a_run_is_over_kinds_where_there_are_kinds_as_that_of_its_arm_is(store):
    assert all(error.endswith(" over questions, as if independent") for error in errors_of(store))
    with_kinds(store, KINDS)
    # Of seed 1 all sums are right and nothing else is. sqrt(c / (c - 1) sum over kinds of (right - n p)^2) / N:
    # sqrt(3 / 2 * (25^2 + 15^2 + 10^2)) / 100.
    assert errors_of(store)[1] == "37.7 over kinds of question"


def test_the_page_has_the_table_where_there_are_kinds_alone(store):
    assert section_of(store)["kinds"] is None
    with_kinds(store, KINDS)
    table = section_of(store)["kinds"]
    assert [(column["name"], column["questions"]) for column in table["columns"]] == [
        ("sums", 50), ("ages <b>", 30), ("shares", 20),
    ]  # fmt: skip
    lora, base = (row["cells"] for row in table["rows"])
    assert lora[1] == {"mean": "66.7", "runs": "100 0 100"}
    assert base[0] == {"mean": "10.0", "runs": ""}, "a single run has no second line"
    assert "ages <b>" not in page(compared_sections(store), [], store)


def test_a_table_of_many_long_kinds_stays_small(store):
    with_kinds(store, [f"{'long ' * 50}{i % 60}" for i in range(N)])
    (section,) = sections(store)
    table = kind_table(section.arms)
    assert table is not None
    assert (len(table.columns), table.more) == (MOST_KINDS, 60 - MOST_KINDS)
    assert all(len(row.cells) == MOST_KINDS for row in table.rows)
    assert max(len(column.name) for column in table.columns) == LONGEST_NAME
    assert section_of(store)["kinds"]["more"] == 60 - MOST_KINDS
