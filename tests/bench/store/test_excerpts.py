"""Claims about the answers that are shown of a run."""

from antipasto_bench.store.excerpts import answers


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
