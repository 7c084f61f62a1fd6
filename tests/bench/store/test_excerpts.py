"""Claims about the answers that are shown of a run."""

import pytest
from recorded import record

from antipasto_bench.core.errors import Damaged
from antipasto_bench.store.excerpts import Excerpts, answers, read_excerpts
from antipasto_bench.store.folders import Store


def sample(question: str, by_filter: dict[str, float], metric: str = "exact_match", task: str = "t") -> list[dict]:
    return [
        {"split": "test", "task": task, "sha1": question, "filter": name, metric: score, "prompt": question}
        for name, score in by_filter.items()
    ]


def test_an_answer_is_shown_as_right_where_the_headline_filter_says_so():
    logged = [
        *sample("a", {"flexible-extract": 1.0, "strict-match": 1.0, "given-answer": 0.0}),
        *sample("b", {"flexible-extract": 0.0, "strict-match": 0.0, "given-answer": 1.0}),
    ]
    assert {answer.prompt: answer.right for answer in answers(logged)} == {"a": False, "b": True}


def test_answers_to_older_rules_and_to_other_tasks_are_shown_by_their_own_headline():
    older = [
        *sample("a", {"strict-match": 1.0, "flexible-extract": 0.0}),
        *sample("b", {"strict-match": 0.0, "flexible-extract": 1.0}),
    ]
    assert {answer.prompt: answer.right for answer in answers(older)} == {"a": False, "b": True}
    chosen = [*sample("c", {"none": 1.0}, "acc", "u"), *sample("d", {"none": 0.0}, "acc", "u")]
    shown = {answer.prompt: answer.right for answer in answers(older + chosen)}
    assert shown == {"a": False, "b": True, "c": True, "d": False}


def test_a_curve_of_step_0_which_has_no_width_is_left_out_with_a_warning(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    run = record(store, "lora", [0])
    path = store.excerpts(run.run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"curve": [{"step": 0, "loss": 1, "grad_norm": 1}]}')
    with pytest.warns(Damaged, match="its excerpts are left out"):
        assert read_excerpts(run, store) == Excerpts()
