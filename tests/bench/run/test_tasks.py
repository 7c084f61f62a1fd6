"""Claims about the task files: what counts as an answer, and that the question is the one trained on."""

import json
import math

import polars as pl
import pytest
from command import SHARED
from datasets import Dataset

from antipasto_bench.core.errors import UserError
from antipasto_bench.run import evaluate
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.examples import PROMPT
from antipasto_bench.run.tasks import right_answers
from antipasto_bench.spec.config import EvalConfig


@pytest.fixture(scope="module")
def task():
    return Evaluation(EvalConfig(tasks=("nano_metamath",)), None).test[0]


def right_by_filter(task, response: str, answer: str) -> dict[str, bool]:
    """Right or wrong under each filter, by the task as lm-eval loads it: its filters, then its metric."""
    doc = {"question": "q", "answer": f"because\n#### {answer}"}
    right = {}
    for ensemble in task._filters:
        resps = [[response]]
        for make in ensemble.filters:
            resps = make().apply(resps, [doc])
        right[ensemble.name] = bool(task.process_results(doc, list(resps))["exact_match"])
    return right


RIGHT = {"given-answer": True, "strict-match": True, "flexible-extract": True}
LOOSE = RIGHT | {"strict-match": False}
WRONG = dict.fromkeys(RIGHT, False)


@pytest.mark.parametrize(
    ("response", "answer", "expected"),
    [
        ("1+1=2.\n#### 2\nThe answer is: 2", "2", RIGHT),
        ("The answer is: 2", "2", RIGHT),
        ("#### 2", "2", RIGHT),
        ("The answer is 2.", "2", RIGHT),
        ("so it is 2.", "2", LOOSE),
        ("The answer is: 1,234", "1234", RIGHT),
        ("The answer is: 1234", "1,234", RIGHT),
        ("The answer is: $1,234,567.", "1234567", RIGHT),
        ("The answer is: $18.00", "18", RIGHT),
        ("The answer is: 0.5", "0.5", RIGHT),
        ("The answer is: -5", "-5", RIGHT),
        ("The answer is: -$5", "-5", RIGHT),
        ("He has 10-3", "3", LOOSE),
        ("it costs $7 in all", "7", LOOSE),
        ("#### 3\nThe answer is: 4", "4", RIGHT | {"given-answer": False}),
        ("#### 4\nThe answer is: 3", "4", WRONG | {"given-answer": True}),
        ("The answer is: 4 and then 5", "4", RIGHT | {"flexible-extract": False}),
        ("The answer is: four", "4", WRONG),
        ("", "4", WRONG),
        ("The answer is: 40", "4", WRONG),
        ("The answer is: 4", "40", WRONG),
    ],
)
def test_what_counts_as_an_answer(task, response, answer, expected):
    assert right_by_filter(task, response, answer) == expected


def test_the_question_asked_is_the_prompt_trained_on(task):
    doc = task.eval_docs[0]
    assert task.doc_to_text(doc) == PROMPT.format(query=doc["question"])
    assert task.config.num_fewshot == 0
    assert task.config.generation_kwargs["until"] == ["Question:"]


TASK = """
task: repeated
custom_dataset: !function questions.load
output_type: {kind}
test_split: test
doc_to_text: "Q: {{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
num_fewshot: 0
generation_kwargs: {{until: ["Q:"], do_sample: false, max_gen_toks: 4}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
QUESTIONS = """
from datasets import Dataset, DatasetDict

def load(**metadata):
    rows = [{"question": q, "answer": "1"} for q in ("Who?", "What?", "who? ", "Where?", "What?")]
    return DatasetDict({"test": Dataset.from_list(rows)})
"""


def test_a_question_that_a_task_itself_has_twice_counts_once(tmp_path, monkeypatch):
    folder = tmp_path / "benchmark" / "tasks" / "repeated"
    folder.mkdir(parents=True)
    (tmp_path / "benchmark" / "presets").mkdir()
    (folder / "repeated.yaml").write_text(TASK.format(kind="generate_until"))
    (folder / "questions.py").write_text(QUESTIONS)
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="repeated: 2 questions come twice and count once"):
        evaluation = Evaluation(EvalConfig(tasks=("repeated",), valid="none"), None)
    assert [document["question"] for document in evaluation.test[0].eval_docs] == ["Who?", "What?", "Where?"]
    assert evaluation.repeated == {"repeated": 2}
    assert evaluation.test_questions == ["Who?", "What?", "Where?"]


def project(tmp_path, monkeypatch, name, text, questions):
    folder = tmp_path / "benchmark" / "tasks" / name
    folder.mkdir(parents=True)
    (tmp_path / "benchmark" / "presets").mkdir()
    (folder / f"{name}.yaml").write_text(text)
    (folder / "questions.py").write_text(questions)
    monkeypatch.chdir(tmp_path)


CHOICES = """
task: choices
custom_dataset: !function questions.load
process_docs: !function questions.in_order
output_type: multiple_choice
test_split: test
doc_to_text: "{{problem}}\\nChoose:"
doc_to_target: gold
doc_to_choice: options
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
OPTIONS = """
from datasets import Dataset, DatasetDict

ROWS = [("Who?", ["a", "b"], 0), ("Who?", ["a", "c"], 0), ("What?", ["a", "b"], 1), ("who? ", ["a", "b"], 0),
        ("Who?", ["a", "b"], 1), ("Where?", ["A", "b"], 1), ("Where?", ["a", "b"], 1), ("What?", ["a", "b"], 1)]

def load(**metadata):
    return DatasetDict({"test": Dataset.from_list([{"problem": q, "options": o, "gold": g} for q, o, g in ROWS])})

def in_order(dataset):
    return dataset.select(sorted(range(len(dataset)), key=lambda row: -row))

def two(dataset):
    return dataset.select([7, 5])
"""


def test_documents_to_choose_from_count_once_where_their_choices_and_target_are_equal_too(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch, "choices", CHOICES, OPTIONS)
    with pytest.warns(UserWarning, match="choices: 2 questions come twice and count once"):
        evaluation = Evaluation(EvalConfig(tasks=("choices",), valid="none"), None)
    (task,) = evaluation.test
    left = [(doc["problem"], *doc["options"], doc["gold"]) for doc in task.eval_docs]
    assert left == [
        ("What?", "a", "b", 1), ("Where?", "a", "b", 1), ("Where?", "A", "b", 1), ("Who?", "a", "b", 1),
        ("who? ", "a", "b", 0), ("Who?", "a", "c", 0),
    ]  # fmt: skip
    assert evaluation.repeated == {"choices": 2}


def test_a_task_that_generates_and_reorders_loses_its_repeated_questions_alone(tmp_path, monkeypatch):
    reorder = "\n\ndef in_order(dataset):\n    return dataset.select(range(len(dataset) - 1, -1, -1))\n"
    text = TASK.format(kind="generate_until") + "process_docs: !function questions.in_order\n"
    project(tmp_path, monkeypatch, "repeated", text, QUESTIONS + reorder)
    with pytest.warns(UserWarning, match="repeated: 2 questions come twice"):
        evaluation = Evaluation(EvalConfig(tasks=("repeated",), valid="none"), None)
    assert [document["question"] for document in evaluation.test[0].eval_docs] == ["What?", "Where?", "who? "]


def test_documents_without_a_question_are_recognised_by_their_prompt_and_its_longest_part(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch, "choices", CHOICES.replace("in_order", "two"), OPTIONS)
    evaluation = Evaluation(EvalConfig(tasks=("choices",), valid="none"), None)
    assert evaluation.test_questions == ["What?\nChoose:", "What?", "Where?\nChoose:", "Where?"]


def test_a_prompt_that_is_no_text_is_not_compared_with_training_rows_and_said_to_be(tmp_path, monkeypatch):
    text = CHOICES.replace("in_order", "two").replace('"{{problem}}\\nChoose:"', "gold")
    project(tmp_path, monkeypatch, "choices", text, OPTIONS)
    evaluation = Evaluation(EvalConfig(tasks=("choices",), valid="none"), None)
    said = r"eval\.tasks=choices: .* no text of a question; data\.overlap is not checked"
    with pytest.warns(UserWarning, match=said):
        assert evaluation.test_questions == []


def test_a_group_of_tasks_has_no_revision_and_is_said_to_be_a_group(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch, "repeated", TASK.format(kind="generate_until"), QUESTIONS)
    folder = tmp_path / "benchmark" / "tasks" / "repeated"
    (folder / "many.yaml").write_text("group: many\ntask: [repeated]\n")
    with pytest.raises(UserError, match=r"^eval\.revision=main: eval\.tasks=many is a group of tasks") as error:
        Evaluation(EvalConfig(tasks=("many",), revision="main", valid="none"), None)
    assert "no hub set" not in str(error.value)


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UserError, match="lm-eval has no task of that name; did you mean 'gsm8k_metamath'"):
        Evaluation(EvalConfig(tasks=("gsm8k_metamaht",)), None)


@pytest.mark.parametrize("reference", ["none", "x = y", "1,2", "5-6", "12 or 13", "1/0", "1e999999999"])
def test_a_reference_that_holds_no_number_is_refused_with_its_place_before_anything_is_trained(tmp_path, reference):
    questions = [{"question": f"q{i}", "answer": f"so\n#### {text}"} for i, text in enumerate(["1", reference, "3"])]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(question) + "\n" for question in questions))
    with pytest.raises(UserError, match=r"questions\.jsonl, (question|line) 2: .*expected '#### N'") as said:
        Evaluation(EvalConfig(tasks=("nano_metamath",), data=str(path)), None)
    assert "\n" not in str(said.value)
    with pytest.raises(UserError, match=r"^eval\.valid=holdout, question 2: .*expected '#### N'"):
        Evaluation(EvalConfig(tasks=("nano_metamath",)), pl.DataFrame(questions))


def test_a_reference_of_the_tasks_own_questions_that_holds_no_number_is_refused(task, monkeypatch):
    own = [*task.eval_docs][:2]
    docs = Dataset.from_list([*own, own[0] | {"answer": "so\n#### many"}])
    monkeypatch.setattr(type(task), "eval_docs", docs)
    with pytest.raises(UserError, match=r"^eval\.tasks=nano_metamath, question 3: 'many' behind '####'"):
        Evaluation(EvalConfig(tasks=("nano_metamath",)), None)


def test_the_first_references_that_no_answer_can_match_are_named_and_all_are_counted(tmp_path):
    ends = ["1", "abc", "1,000", "$5", "-3.5", "1/2", "\u0663", "1e3", "50%", "", "x", "5 apples", "1/0", "?", "none"]
    path = tmp_path / "questions.jsonl"
    rows = [{"question": f"q{i}", "answer": f"so\n#### {end}"} for i, end in enumerate(ends)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError) as said:
        Evaluation(EvalConfig(tasks=("gsm8k_metamath",), data=str(path), valid="none"), None)
    assert str(said.value) == (
        f"{path}, line 2: 'abc' behind '####' holds no number; expected '#### N' "
        "(5 rows are so: line 2; line 10; line 11; line 14; ...)"
    )
    left = [row for row in rows if row["answer"].rpartition("#### ")[2] not in ("abc", "", "x", "?", "none")]
    path.write_text("".join(json.dumps(row) + "\n" for row in left))
    with pytest.raises(UserError, match=r"questions\.jsonl, line 10: '1/0' behind '####' is not one number; expected"):
        Evaluation(EvalConfig(tasks=("gsm8k_metamath",), data=str(path), valid="none"), None)
    path.write_text("".join(json.dumps(row) + "\n" for row in left[:-1]))
    (scored,) = Evaluation(EvalConfig(tasks=("gsm8k_metamath",), data=str(path), valid="none"), None).test
    docs = list(scored.eval_docs)
    given = ["1", "1000", "5", "-3.5", "0.5", "3", "1000", "50", "5"]
    assert right_answers(scored, docs, [f"The answer is: {number}" for number in given]) == [True] * 9


def test_an_answer_without_its_mark_is_refused_with_all_such_rows(tmp_path):
    path = tmp_path / "questions.csv"
    path.write_text('question,answer\na,#### 1\nb,2\nc,"3\nor 4"\nd,so 5\n')
    with pytest.raises(
        UserError, match=r"line 3: the answer does not end .* \(3 rows are so: line 3; line 4; line 6\)$"
    ):
        Evaluation(EvalConfig(tasks=("gsm8k_metamath",), data=str(path), valid="none"), None)


@pytest.mark.skipif(
    not (SHARED / "data" / "gsm8k").exists(), reason=f"real GSM8K is not beside this checkout ({SHARED})"
)
def test_every_reference_of_gsm8k_can_be_matched():
    for name, count in (("test", 1319), ("train", 7473)):
        path = str(SHARED / "data" / "gsm8k" / f"{name}.jsonl")
        (task,) = Evaluation(EvalConfig(tasks=("gsm8k_metamath",), data=path, valid="none"), None).test
        docs = list(task.eval_docs)
        assert len(docs) == count
        assert all(right_answers(task, docs, [f"The answer is: {doc['answer'].rpartition('####')[2]}" for doc in docs]))


class _Unfinite:
    def __str__(self) -> str:
        return "an object \ud83d"


def test_samples_are_json_whatever_a_model_answers():
    """Not finite numbers, which JSON has not, and half of a surrogate pair, which most of its readers refuse."""
    answer = '\x00 \ud83d \ufffd \u2028 \U0001f600 "\n'
    logged = {
        "metrics": ["acc", "perplexity"], "acc": float("nan"), "perplexity": (float("-inf"), 3), "filter": "none",
        "filtered_resps": [(-math.inf, True), _Unfinite()], "target": "\ude00", "arguments": [("q\x00", {})],
        "resps": [[answer]],
    }  # fmt: skip
    line = json.dumps(evaluate._sample({"task": "t"}, logged), allow_nan=False)
    kinds = dict.fromkeys(("response", "target", "prompt"), pl.String) | {"acc": pl.Float64}
    (sample,) = pl.read_ndjson(line.encode(), schema=kinds).to_dicts()
    assert sample["response"] == answer.replace("\ud83d", "\ufffd")
    assert (sample["target"], sample["prompt"], sample["acc"]) == ("\ufffd", "q\x00", None)
    assert json.loads(line)["extracted"] == [[None, True], "an object \ufffd"]
    assert json.loads(line)["perplexity"] == [None, 3]
