"""Claims about what is measured beside the scores: forgetting on general text, and the excerpts of a run."""

import json

import pytest
import torch
from command import QUICK, bench, row_of

from antipasto_bench.core.errors import UserError
from antipasto_bench.run.data import read_texts
from antipasto_bench.run.forgetting import mean_token_loss
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.excerpts import ANSWERS, MOST_POINTS, CurvePoint, answers, curve


def test_the_loss_is_the_mean_over_tokens_text_by_text(model, tokenizer):
    texts = read_texts("benchmark/data/nano/general.jsonl", 20)
    total, count = 0.0, 0
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :50]
            logprobs = model(ids).logits[0, :-1].log_softmax(-1)
            total -= float(logprobs.gather(1, ids[0, 1:, None]).sum())
            count += ids.shape[1] - 1
    found, tokens = mean_token_loss(model, tokenizer, texts, max_length=50)
    assert tokens == count
    assert found == pytest.approx(total / count, rel=1e-5)
    assert mean_token_loss(model, tokenizer, texts[::-1], max_length=50)[0] == pytest.approx(found, rel=1e-6)


def test_general_texts_are_none_that_the_model_was_pretrained_or_is_tested_on(model, tokenizer):
    """Held out as questions are: by the tenth that the hash of a question falls into."""
    from antipasto_bench.nano.problems import split_of

    texts = read_texts("benchmark/data/nano/general.jsonl", 300)
    questions = [text.split("\n")[0] for text in texts if "?" in text.split("\n")[0] and "Question:" not in text]
    assert len(questions) > 100
    assert {split_of(question) for question in questions} == {"valid"}
    assert mean_token_loss(model, tokenizer, texts, 512)[0] < 0.7, "the untuned model knows text of this kind"


def test_what_is_measured_beside_the_scores_is_no_part_of_a_runs_identity():
    runs = [
        compose("lora", {"eval.general": name}, "nano").run_id for name in ("none", "benchmark/data/nano/valid.jsonl")
    ]
    assert runs[0] == runs[1] == compose("lora", {"eval.general_limit": 7}, "nano").run_id


def test_texts_without_a_text_column_are_one_clear_error(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"question": "a"}\n')
    with pytest.raises(UserError, match="no text under 'text'"):
        read_texts(str(path), 3)


def test_a_curve_keeps_the_mean_of_every_stretch():
    steps = [{"step": i + 1, "loss": float(i), "grad_norm": 1.0} for i in range(300)]
    points = curve(steps)
    assert len(points) == MOST_POINTS
    assert points[-1].step == 300
    assert points[0] == CurvePoint(step=5, loss=2.0, grad_norm=1.0)
    assert curve([]) == []
    assert curve(steps[:1]) == [CurvePoint(step=1, loss=0.0, grad_norm=1.0)]


def test_answers_are_some_right_and_some_wrong_whatever_the_order():
    samples = [
        {"split": split, "task": "t", "sha1": f"{i:02}", "filter": name,
         "exact_match": float(i % 3 == 0 and name == "given-answer"),
         "prompt": f"q{i}", "target": "t", "response": "<script>"}
        for split in ("test", "valid") for i in range(30) for name in ("strict-match", "given-answer")
    ]  # fmt: skip
    excerpts = answers(samples)
    assert [entry.right for entry in excerpts] == [True] * ANSWERS + [False] * ANSWERS
    assert [entry.prompt for entry in excerpts] == ["q0", "q3", "q6", "q1", "q2", "q4"]
    assert answers(samples[::-1]) == excerpts


def test_answers_of_a_task_that_chooses_between_answers_are_kept_as_lm_eval_logs_them():
    sample = {"split": "test", "task": "t", "sha1": "a", "filter": "none", "acc": 1.0}
    sample |= {"prompt": "q", "target": "0", "response": [-1.5, True]}
    (answer,) = answers([sample])
    assert answer.model_dump() == {"right": True, "prompt": "q", "target": "0", "response": [-1.5, True]}


@pytest.mark.long
@pytest.mark.slow
def test_a_run_says_what_it_forgot_and_can_be_measured_again(tmp_path):
    row = row_of(bench("run", "lora", "steps=20", *QUICK[1:-1], "eval.general_limit=40", "--json", cwd=tmp_path))
    assert row["general_loss"] > row["general_loss_base"] > 0, "training on other text costs something"
    assert row["provenance"]["data"]["general"]["rows"] == 40
    path = tmp_path / "results/runs" / f"{row['run_id']}.json"
    excerpts = json.loads(path.read_text())
    assert [p["step"] for p in excerpts["curve"]] == list(range(1, 21))
    assert len(excerpts["answers"]) >= ANSWERS
    path.unlink()
    said = bench("measure", row["run_id"], cwd=tmp_path).stdout
    assert f"{row['general_loss'] - row['general_loss_base']:+.3f} nats" in said
    assert json.loads(path.read_text()) == excerpts
    again = json.loads(bench("list", "--json", cwd=tmp_path).stdout)
    assert again["general_loss"] == pytest.approx(row["general_loss"], abs=1e-6)
    assert again["test_accuracy"] == row["test_accuracy"]
    assert "name a run" in bench("measure", cwd=tmp_path, expect=2).stderr
    assert "no run 'lore'" in bench("measure", "lore", cwd=tmp_path, expect=2).stderr
