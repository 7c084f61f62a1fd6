"""Claims about rows, splits and batches."""

import itertools
import json
import re
import warnings

import polars as pl
import pytest
import torch
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from antipasto_bench.core.errors import UserError
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.data import Splits, load_splits, read_questions
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.examples import (
    IGNORED,
    PROMPT,
    Example,
    bucketed_batches,
    collate,
    draw_examples,
    drawn_examples,
    encode,
    with_wrong_numbers,
)
from antipasto_bench.run.question_text import normal_form
from antipasto_bench.run.rows import TRAIN_FIELDS, Origin, read_rows
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import DataConfig, EvalConfig

ROWS = [
    {"query": f"What is {i}+1?", "response": f"{i}+1={i + 1}.\n#### {i + 1}\nThe answer is: {i + 1}",
     "type": "GSM_AnsAug", "original_question": f"What is {i}+1?"}
    for i in range(20)
]  # fmt: skip


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_jsonl_parquet_and_saved_folders_read_alike(tmp_path):
    jsonl = write_jsonl(tmp_path / "a.jsonl", ROWS)
    pl.DataFrame(ROWS).write_parquet(tmp_path / "a.parquet")
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "flat")
    DatasetDict({"train": Dataset.from_list(ROWS), "test": Dataset.from_list(ROWS[:3])}).save_to_disk(
        tmp_path / "split"
    )
    frames = [read_rows(str(tmp_path / name), TRAIN_FIELDS) for name in ("a.parquet", "flat", "split")]
    expected = read_rows(jsonl, TRAIN_FIELDS)
    assert expected.height == 20
    assert all(frame.select(expected.columns).equals(expected) for frame in frames)
    assert read_rows(str(tmp_path / "split"), TRAIN_FIELDS, "test").height == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ('{"query": "a", "response": "b"}\n{"query": "a"', "line 2: not JSON"),
        ('{"query": "a", "response": "b"}\n\n{"query": "a"}\n', "line 3: no text under 'response'"),
        ('{"query": "a", "response": 3}\n', "line 1: no text under 'response'"),
        ('{"query": " ", "response": "b"}\n', "line 1: no text under 'query'"),
        ("[1, 2]\n", "line 1: no text under 'query'"),
    ],
)
def test_a_malformed_jsonl_names_the_line(tmp_path, content, said):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=r"rows\.jsonl") as error:
        read_rows(str(path), TRAIN_FIELDS)
    assert said in str(error.value)


def test_other_files_say_what_is_wrong_with_them(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"junk")
    (tmp_path / "folder").mkdir()
    pl.DataFrame({"query": ["a"], "answer": ["b"]}).write_parquet(tmp_path / "b.parquet")
    pl.DataFrame({"query": ["a", None], "response": ["b", "c"]}).write_parquet(tmp_path / "c.parquet")
    (tmp_path / "a.txt").write_text("x")
    DatasetDict({"train": Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "split")
    for name, said in [
        ("a.parquet", "cannot be read as parquet"),
        ("folder", "not a folder that datasets"),
        ("b.parquet", "has no column 'response'"),
        ("c.parquet", "c.parquet, row 2: no text under 'query'"),
        ("a.txt", "expected a .jsonl, .json, .csv, .tsv .* or .parquet file"),
        ("absent.jsonl", "no such file"),
    ]:
        with pytest.raises(UserError, match=said):
            read_rows(str(tmp_path / name), TRAIN_FIELDS)
    with pytest.raises(UserError, match=r"has no split 'test' \(it has: train\)"):
        read_rows(str(tmp_path / "split"), TRAIN_FIELDS, "test")


def test_a_question_must_carry_its_answer(tmp_path):
    path = write_jsonl(tmp_path / "q.jsonl", [{"question": "a", "answer": "#### 1"}, {"question": "b", "answer": "2"}])
    with pytest.raises(UserError, match="line 2: the answer does not end in '#### N'"):
        read_questions(path, "test")


@pytest.mark.parametrize("end", ["x", "eighteen", "#### ", "\n"])
def test_an_answer_must_hold_a_number(tmp_path, end):
    rows = [{"question": "a", "answer": "#### ½"}, {"question": "b", "answer": f"1+1\n#### {end}"}]
    path = write_jsonl(tmp_path / "q.jsonl", rows)
    with pytest.raises(UserError, match=r"q\.jsonl, line 2: .* behind '####' holds no number; expected '#### N'"):
        read_questions(path, "test")


def test_held_out_questions_and_all_rows_made_from_them_are_not_trained_on(tmp_path):
    rephrased = [row | {"query": f"Say, {row['query']}", "type": "GSM_Rephrased"} for row in ROWS]
    path = write_jsonl(tmp_path / "a.jsonl", [*rephrased, *ROWS])
    data, scoring = DataConfig(train=path), EvalConfig(tasks=("t",), valid="holdout", valid_limit=5)
    splits = load_splits(data, scoring)
    assert splits.valid is not None
    held = set(splits.valid["question"])
    assert len(held) == 5
    assert splits.train.height == 40 - 2 * 5
    assert held.isdisjoint(splits.train["original_question"])
    assert not any(question in query for question in held for query in splits.train["query"])
    for question, answer in splits.valid.select("question", "answer").iter_rows():
        number = int(question.split()[2].split("+")[0])
        assert answer == f"#### {number + 1}"
    shuffled = write_jsonl(tmp_path / "b.jsonl", [*ROWS[::-1], *rephrased])
    again = load_splits(DataConfig(train=shuffled), scoring)
    assert again.valid is not None
    assert set(again.valid["question"]) == held


def test_rows_of_a_held_out_question_in_another_form_are_not_trained_on(tmp_path):
    """Another case, other white space, another Unicode form: of the original question, or of the query itself."""
    question = "Zoë has 3½ apples. How many are left?"
    forms = [question.upper(), f"  {question.replace(' ', '  ')}\n", question.replace("ë", "e\u0308"), question]
    answer = {"response": "3.\nThe answer is: 3"}
    derived = [{"query": f"Say {i}", "original_question": form} | answer for i, form in enumerate(forms)]
    repeated = [{"query": form, "original_question": f"Else {i}"} | answer for i, form in enumerate(forms)]
    other = [{"query": "Zoë has 4 apples.", "original_question": "Zoë has 4 apples."} | answer]
    path = write_jsonl(tmp_path / "a.jsonl", [*derived, *other, *repeated])
    valid = write_jsonl(tmp_path / "v.jsonl", [{"question": question, "answer": "#### 3"}])
    splits = load_splits(DataConfig(train=path), EvalConfig(tasks=("t",), valid=valid))
    assert splits.train["query"].to_list() == ["Zoë has 4 apples."]
    assert splits.places == [4]
    rows = [row | {"query": row["original_question"]} for row in derived]
    held = load_splits(DataConfig(train=write_jsonl(tmp_path / "b.jsonl", [*rows, *other])), EvalConfig(tasks=("t",)))
    assert held.valid is not None
    assert (len(held.valid), len(held.train)) == (1, 1), "all four are held out with it"
    assert normal_form(held.valid["question"][0]) not in {normal_form(text) for text in held.train["query"]}


def test_the_embedded_data_are_split_as_they_always_were():
    run = compose("lora", {}, "nano")
    splits = load_splits(run.data, run.eval)
    rows = read_rows(run.data.train, TRAIN_FIELDS)
    assert splits.train.equals(rows.select(splits.train.columns))
    assert splits.valid is not None
    assert len(splits.valid) == 200


def test_a_question_that_comes_twice_in_a_file_is_refused_with_both_lines(tmp_path):
    questions = [{"question": text, "answer": "#### 1"} for text in ("Who?", "What  is it?", "Where?", "what is it? ")]
    path = tmp_path / "q.jsonl"
    path.write_text("\n" + "".join(json.dumps(row) + "\n" for row in questions))
    with pytest.raises(UserError, match=r"q\.jsonl: line 3 and line 5 ask the same question, which would count twice"):
        read_questions(str(path), "test")
    pl.DataFrame(questions).write_parquet(tmp_path / "q.parquet")
    data = DataConfig(train=write_jsonl(tmp_path / "a.jsonl", ROWS))
    with pytest.raises(UserError, match=r"q\.parquet: row 2 and row 4 ask the same question"):
        load_splits(data, EvalConfig(tasks=("nano_metamath",), valid=str(tmp_path / "q.parquet")))
    with pytest.raises(UserError, match="line 3 and line 5"):
        Evaluation(EvalConfig(tasks=("nano_metamath",), data=str(path), valid="none"), None)


def test_gsm_questions_alone_are_held_out_where_there_are_any(tmp_path):
    maths = [row | {"type": "MATH_AnsAug", "query": f"Solve {i}", "original_question": f"Solve {i}"}
             for i, row in enumerate(ROWS)]  # fmt: skip
    path = write_jsonl(tmp_path / "a.jsonl", [*maths, *ROWS])
    splits = load_splits(DataConfig(train=path), EvalConfig(tasks=("t",), valid_limit=10))
    assert splits.valid is not None
    assert splits.valid["question"].str.starts_with("What").all()
    assert splits.train.height == 30


def test_only_the_completion_bears_loss_and_its_tokens_are_those_met_when_scored(tokenizer):
    rows = pl.DataFrame(ROWS[:3])
    batch = collate(encode(tokenizer, rows), tokenizer.pad_token_id)
    for i in range(3):
        labels = batch["labels"][i]
        completion = tokenizer.decode(labels[labels != IGNORED])
        assert completion == f" {ROWS[i]['response']}{tokenizer.eos_token}"
        prompt_ids = tokenizer(PROMPT.format(query=ROWS[i]["query"]))["input_ids"]
        assert batch["input_ids"][i, : len(prompt_ids)].tolist() == prompt_ids
        assert (labels[: len(prompt_ids)] == IGNORED).all()
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()


def test_examples_are_drawn_without_replacement_until_all_were_used(tokenizer):
    rows = pl.DataFrame(ROWS)
    drawn = draw_examples(tokenizer, rows, 50, 512, torch.Generator().manual_seed(0))
    keys = [tuple(e.ids) for e in drawn]
    assert len(set(keys[:20])) == len(set(keys[20:40])) == 20
    assert keys[:20] != keys[20:40]
    again = draw_examples(tokenizer, rows, 50, 512, torch.Generator().manual_seed(0))
    assert [tuple(e.ids) for e in again] == keys
    with pytest.raises(UserError, match="max_length=8"):
        draw_examples(tokenizer, rows, 5, 8, torch.Generator())


def test_a_longer_example_is_cut_where_something_of_its_response_stays(tokenizer):
    rows = pl.DataFrame([{"query": f"What is 1{'+1' * i}?", "response": "1" * (20 - i)} for i in range(20)])
    whole = encode(tokenizer, rows)
    limit = sorted(e.prompt_length for e in whole)[12]
    run = compose("lora", {"steps": 5, "batch_size": 4, "data.max_length": limit, "data.truncate": True}, "nano")
    drawn = drawn_examples(run, tokenizer, Splits(rows, None, Origin(), [*range(20)]))
    fitting = {tuple(e.ids[:limit]) for e in whole if e.prompt_length < limit}
    assert {tuple(e.ids) for e in drawn} == fitting
    assert 0 < len(fitting) < 20
    assert max(len(e.ids) for e in drawn) == limit < max(len(e.ids) for e in whole)


def test_rows_of_too_many_characters_are_left_out(tokenizer):
    rows = pl.DataFrame(ROWS)
    lengths = [len(f"{row['query']} {row['response']}") for row in ROWS]
    limit = sorted(lengths)[len(lengths) // 2]
    splits = Splits(rows, None, Origin(), [*range(len(rows))])
    run = compose("lora", {"steps": 5, "batch_size": 4, "data.max_characters": limit}, "nano")
    drawn = {e.query for e in drawn_examples(run, tokenizer, splits)}
    assert drawn == {row["query"] for row, n in zip(ROWS, lengths, strict=True) if n <= limit}
    with pytest.raises(UserError, match=r"data\.max_characters=3 characters; raise it"):
        drawn_examples(compose("lora", {"data.max_characters": 3}, "nano"), tokenizer, splits)


def test_buckets_show_every_example_once_with_little_padding():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 200, (640,), generator=generator).tolist()
    examples = [Example([index, *[1] * (n - 1)], 2, "q", "r") for index, n in enumerate(lengths)]
    batches = list(bucketed_batches(examples, 16, 0, generator))
    assert len(batches) == 40
    seen = sorted(int(first) for batch in batches for first in batch["input_ids"][:, 0])
    assert seen == list(range(640))
    padding = 1 - sum(b["attention_mask"].sum() for b in batches) / sum(b["attention_mask"].numel() for b in batches)
    plain = [collate(examples[i : i + 16], 0)["attention_mask"] for i in range(0, 640, 16)]
    unbucketed = 1 - sum(m.sum() for m in plain) / sum(m.numel() for m in plain)
    assert padding < 0.05 < 0.3 < unbucketed


@given(st.lists(st.tuples(st.integers(2, 60), st.integers(1, 20)), min_size=1, max_size=30))
def test_packed_rows_hold_every_example_once_and_whole(sizes):
    """None longer than the width, no two of which would fit into one, and positions that begin anew with each."""
    examples = [Example([i, *range(100, 99 + n)], min(prompt, n - 1), "q", "r") for i, (n, prompt) in enumerate(sizes)]
    batch = collate(examples, 7, width=64)
    used = batch["attention_mask"].sum(1)
    assert batch["input_ids"].shape[1] == used.max() <= 64
    assert len(used) == 1 or used.sort().values[:2].sum() > 64
    seen = []
    for ids, mask, labels, positions in zip(*(batch[name] for name in batch), strict=True):
        starts = [*(positions[mask == 1] == 0).nonzero()[:, 0].tolist(), int(mask.sum())]
        for start, end in itertools.pairwise(starts):
            example = examples[int(ids[start])]
            seen.append(int(ids[start]))
            assert ids[start:end].tolist() == example.ids
            assert positions[start:end].tolist() == list(range(end - start))
            assert (labels[start:end] == IGNORED).sum() == example.prompt_length
        assert (labels[mask == 0] == IGNORED).all()
    assert sorted(seen) == list(range(len(examples)))


def test_wrong_numbers_keep_the_shape_of_a_solution_and_none_of_its_numbers():
    rows = pl.DataFrame(
        {
            "query": ["How many?"] * 3,
            "response": ["He has 7*12=84.\n#### 84\nThe answer is: 84", "0 and 100", "no number"],
        }
    )
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    examples = encode(tokenizer, rows)
    wrong = with_wrong_numbers(examples, tokenizer, seed=0)
    assert [e.query for e in wrong] == [e.query for e in examples]
    assert all(e.ids[: e.prompt_length] == w.ids[: w.prompt_length] for e, w in zip(examples, wrong, strict=True))
    for right, changed in zip(rows["response"], wrong, strict=True):
        before, after = re.findall(r"\d+", right), re.findall(r"\d+", changed.response)
        assert re.sub(r"\d+", "", right) == re.sub(r"\d+", "", changed.response)
        assert [len(n) for n in before] == [len(n) for n in after]
        assert all(a != b for a, b in zip(before, after, strict=True))
    again = with_wrong_numbers(examples, tokenizer, seed=0)
    assert [e.response for e in again] == [e.response for e in wrong]


def test_rows_that_cannot_be_held_out_for_lack_of_a_number_are_said_where_validation_is_short(tmp_path):
    rows = [*ROWS[:4], *({**row, "response": "It is so."} for row in ROWS[4:9])]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.warns(UserWarning, match=r"2 questions are held out, not 3: .* to 5 others do not end .*, line 5$"):
        splits = load_splits(DataConfig(train=path), EvalConfig(tasks=("t",), valid_limit=3))
    assert splits.valid is not None
    assert len(splits.valid) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_splits(DataConfig(train=path), EvalConfig(tasks=("t",), valid_limit=2))
