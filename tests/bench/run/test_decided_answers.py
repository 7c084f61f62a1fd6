"""Claims about where an answer's score is decided: nothing that comes behind changes what the filter reads."""

import json
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from command import SHARED, bench
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from antipasto_bench.core.errors import UserError
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.backends import check_backend
from antipasto_bench.run.decided_answers import LINE_ENDS, decision_of
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.generate import Scorer
from antipasto_bench.run.repetition import BOUND, repeats
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import EvalConfig

ROOT = Path(__file__).parents[3]
EVALUATION = Evaluation(EvalConfig(tasks=("nano_metamath",)), None)
DECIDED = decision_of(EVALUATION.test)
given_number = DECIDED._rules.given_number


def whole_lines(text):
    return (text[: place + 1] for place, character in enumerate(text) if character in LINE_ENDS)


def recorded_answers():
    """Answers of all recorded runs, right and wrong, as far as they are kept beside the rows."""
    texts = []
    for path in sorted((ROOT / "results/runs").glob("*.json")):
        texts += [answer["response"] for answer in json.loads(path.read_text()).get("answers", [])]
    return [text for text in texts if isinstance(text, str)]


def shared_texts():
    cases, gsm8k = SHARED / "cases/answers.jsonl", SHARED / "data/gsm8k/test.jsonl"
    texts = [json.loads(line)["said"] for line in cases.read_text().splitlines()]
    solutions = [json.loads(line)["answer"] for line in gsm8k.read_text().splitlines()]
    return texts + [f"{solution}\nThe answer is: {solution.rpartition('#### ')[2]}" for solution in solutions]


def held_on(texts):
    """How many of the texts are decided before their end; each must give one number from there on."""
    decided = 0
    for text in texts:
        cut = DECIDED.cut(text)
        assert given_number(cut) == given_number(text), text
        assert DECIDED.cut(cut) == cut
        verdicts = [DECIDED(part) for part in whole_lines(text)]
        assert verdicts == sorted(verdicts), "once decided, always decided"
        decided += cut != text
    return decided


def test_on_every_recorded_answer_what_decides_is_what_counts():
    texts = recorded_answers()
    assert len(texts) > 1000
    assert held_on(texts) > 100


@pytest.mark.skipif(not SHARED.exists(), reason=f"cases and GSM8K are not beside this checkout ({SHARED})")
def test_on_every_case_and_every_solution_of_gsm8k_what_decides_is_what_counts():
    assert held_on(shared_texts()) >= 1319


PIECES = st.sampled_from(
    ["The answer is", "the final\nanswer is", "the ", "final", "answer", "####", "#### ", "\\boxed", "{", "}", ":", " ",
     "\n", "\n", "\r", "5", "12", "-", "$", "1,234", ".", ". A", "Step", "step 1",
     "eggs", "=", "+", "/", "\\frac", "½", "٣", "Question:",
     "## Problem", "Q:", "**", "x", "^2", "<<1+1=2>>", "\\ ", "{,}"]
)  # fmt: skip


@settings(max_examples=600)
@given(st.lists(PIECES, max_size=14).map(lambda pieces: [*pieces, "\n"]), st.lists(PIECES, max_size=10))
@example(["####", "the final\nanswer is"], ["<<1+1=2>>"])  # the announcement goes on in the next line
def test_nothing_behind_a_decided_answer_changes_its_number(before, behind):
    answer, longer = "".join(before), "".join([*before, *behind])
    if DECIDED(answer):
        whole = answer[: max(answer.rfind(end) for end in LINE_ENDS) + 1]
        assert given_number(whole) == given_number(answer) == given_number(longer)
        assert all(DECIDED(part) for part in accumulate([answer, *behind]))


@pytest.mark.parametrize(
    ("answer", "cut"),
    [
        ("so 3+4=7.\n#### 7\nThe answer is: 8", "so 3+4=7.\n#### 7\n"),
        ("The answer is 7 eggs.\n\nQuestion: 9", "The answer is 7 eggs.\n"),
        ("The answer is:\n\n7\n8", "The answer is:\n\n7\n"),
        ("The answer is \\boxed{\n7\n}\n8\n", "The answer is \\boxed{\n"),  # the sentence holds no number, nor will it
        ("\\boxed{\n7\n}\n8\n", "\\boxed{\n7\n}\n"),
        ("we have 7\nQuestion: what?\nThe answer is 9\n", "we have 7\nQuestion: what?\n"),
        ("7 eggs\n8 eggs\n9 eggs\n", None),
        ("####\nStep 2\n#### 7", None),  # a heading of Markdown, not an announcement
        ("#### The final\nanswer: 7\n8\n", "#### The final\nanswer: 7\n"),
        ("#### the\n7\n", "#### the\n7\n"),
        ("The answer is: 7", None),  # the line goes on
        ("The answer is: 7\r8", "The answer is: 7\r"),
    ],
)
def test_an_answer_is_cut_behind_the_line_that_decides(answer, cut):
    assert DECIDED.cut(answer) == (answer if cut is None else cut)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32).eval()


@pytest.mark.parametrize("backend", ["hf", "static", "continuous"])
def test_a_model_that_talks_on_is_cut_short_alike_by_every_backend_and_computes_less_by_the_default(
    model, monkeypatch, backend
):
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    monkeypatch.setattr(Scorer, "_end_ids", property(lambda self: []))  # nano says no more than it has to
    task = EVALUATION.test[0]
    ways = {"until": [], "do_sample": False, "max_gen_toks": 64}
    requests = [SimpleNamespace(args=(task.doc_to_text(doc), ways)) for doc in list(task.eval_docs)[:12]]
    passes = []
    model_of = Scorer(model, tokenizer, compose("base", {}, "nano").eval)
    whole = model_of.generate_until(requests, disable_tqdm=True)
    handle = model.register_forward_pre_hook(lambda *given, **named: passes.append(1), with_kwargs=True)
    try:
        lm = Scorer(model, tokenizer, compose("base", {"eval.backend": backend}, "nano").eval)
        lm.decision = DECIDED
        short = lm.generate_until(requests, disable_tqdm=True)
    finally:
        handle.remove()
    assert short == [DECIDED.cut(answer) for answer in whole]
    assert sum(map(len, short)) < 0.7 * sum(map(len, whole))
    if backend == "hf":
        assert 0 < len(passes) < 64


def test_a_run_ends_its_answers_there_and_is_another_protocol(tmp_path):
    settings = ("eval.limit=40", "eval.valid=none", "costs=false", "steps=30")
    for stop in ("task", "decided"):
        bench("run", "lora", *settings, f"eval.stop={stop}", cwd=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "results/table.ndjson").read_text().splitlines()]
    assert rows[0]["protocol"] != rows[1]["protocol"]
    assert rows[0]["test_accuracy"] == rows[1]["test_accuracy"]
    samples = [
        [json.loads(line) for line in (tmp_path / "outputs" / row["run_id"] / "samples.jsonl").read_text().splitlines()]
        for row in rows
    ]
    for plain, short in zip(*samples, strict=True):
        assert short["response"] == DECIDED.cut(plain["response"])
    for row, of_row in zip(rows, samples, strict=True):
        said = {sample["doc_id"]: sample["response"] for sample in of_row if sample["split"] == "test"}
        assert row["test_repeating"] == sum(map(repeats, said.values())) / len(said)
    assert sum(len(sample["response"]) for sample in samples[1]) < sum(len(s["response"]) for s in samples[0])


def test_stopping_there_is_no_setting_for_what_is_scored_otherwise(tmp_path):
    (tmp_path / "questions.jsonl").write_text(json.dumps({"question": "What is 1+1?", "answer": "#### 2"}) + "\n")
    tasks = ("eval.tasks=gsm8k_cot_zeroshot", "eval.data=questions.jsonl", "eval.valid=none")
    done = bench("run", "lora", *tasks, "eval.stop=decided", cwd=tmp_path, expect=2)
    assert "error: eval.stop=decided: gsm8k_cot_zeroshot is not scored by the filter given-answer" in done.stderr
    assert "write eval.stop=task" in done.stderr
    assert not list(tmp_path.rglob("*.ndjson"))
    with pytest.raises(UserError, match=r"does not know of eval.stop=decided; write eval.backend=hf"):
        check_backend(compose("lora", {"eval.backend": "vllm", "eval.stop": "decided"}, "nano"))


@given(st.text("ab", min_size=1, max_size=BOUND), st.text("abc", max_size=50))
def test_an_answer_repeats_itself_where_its_end_is_what_stands_before_it(period, before):
    copies = -(-2 * BOUND // len(period)) + 1
    assert repeats(before + period * copies)
    assert not repeats(before + period * copies + "c")
    assert not repeats(period[: BOUND - 1])


def test_an_answer_that_repeats_itself_less_or_not_at_all_does_not_count_as_such():
    numbers = "".join(f"{number} eggs and " for number in range(100))
    assert not repeats(numbers)
    assert not repeats("")
    line = "There are 5 eggs.\n"
    assert not repeats(numbers + line * (BOUND // len(line)))
    assert repeats(numbers + line * (BOUND // len(line) + 3))
