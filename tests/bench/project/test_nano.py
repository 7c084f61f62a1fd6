"""Claims about the embedded world: it is what its script makes, and its splits share no question."""

import hashlib
import importlib.util
import json
import re
from itertools import islice
from pathlib import Path
from random import Random

import polars as pl
import pytest
from transformers import AutoConfig, AutoTokenizer

from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.nano.problems import PRETRAINING_KINDS, SPLITS, TUNING_KINDS, generate, pretraining_text, split_of
from antipasto_bench.run.data import question_hash

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_nano", ROOT / "scripts" / "make_nano.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_shipped_data_are_what_the_script_generates(script):
    made = script.problems()
    train = pl.read_parquet(script.FILES["train"])
    assert train["query"].to_list() == [p.question for p in made["train"]]
    assert train["response"].to_list() == [p.response for p in made["train"]]
    for split in ("valid", "test"):
        lines = [json.loads(line) for line in script.FILES[split].read_text().splitlines()]
        assert lines == [{"question": p.question, "answer": p.solution} for p in made[split]]
    kinds = [line.split(",") for line in script.FILES["kinds"].read_text().splitlines()]
    assert kinds == [["sha1", "type"], *([question_hash(p.question), p.kind] for p in made["test"])]
    assert len(made["test"]) >= 500


def test_shipped_model_is_the_one_that_was_recorded(script):
    made = json.loads((MODEL_DIR / "made.json").read_text())
    for name, digest in made["sha256"].items():
        assert hashlib.sha256((MODEL_DIR / name).read_bytes()).hexdigest() == digest
    assert (made["seed"], made["steps"]) == (script.SEED, script.STEPS)
    assert sum(f.stat().st_size for f in MODEL_DIR.iterdir()) < 6_000_000
    assert AutoConfig.from_pretrained(MODEL_DIR).architectures == ["Qwen3ForCausalLM"]


def test_schemas_are_those_of_metamathqa_and_gsm8k(script):
    train = pl.read_parquet(script.FILES["train"])
    assert train.columns == ["query", "response", "type", "original_question"]
    for response in train["response"]:
        *_, hashes, last = response.split("\n")
        assert hashes.startswith("#### ")
        assert last == f"The answer is: {hashes.removeprefix('#### ')}"


def test_no_question_is_in_two_splits_nor_in_the_pretraining_text(script):
    made = {split: {p.question for p in problems} for split, problems in script.problems().items()}
    assert not made["train"] & made["test"]
    assert not made["train"] & made["valid"]
    assert not made["valid"] & made["test"]
    everything = set.union(*made.values())
    seen = 0
    for text in islice(pretraining_text(Random(1)), 20_000):
        question = text.partition(" Think step")[0].removeprefix("Question: ").partition("\n")[0]
        assert question not in everything
        seen += split_of(question) == "pretrain"
    assert seen > 5_000
    assert sorted(tenth for tenths in SPLITS.values() for tenth in tenths) == list(range(10))


@pytest.mark.parametrize("kind", [*TUNING_KINDS, *PRETRAINING_KINDS], ids=lambda kind: kind.__name__)
def test_every_worked_solution_is_right(kind):
    """Each step's sum is true, uses numbers of the question or of steps before, and the last one is the answer."""
    rng = Random(0)
    for _ in range(300):
        problem = kind(rng)
        words = {"half": 2, "Half": 2, "twice": 2, "third": 3, "three": 3, "four": 4, "quarter": 4}
        text = problem.question.replace("$", "").replace(",", " ").replace(".", " ").replace("?", " ")
        known = {int(w) for w in text.split() if w.isdigit()} | {n for w, n in words.items() if w in text.split()}
        for step in problem.steps:
            found = re.search(r"(\d+)([-+*/])(\d+)=(\d+)", step)
            assert found is not None, step
            a, op, b, value = int(found[1]), found[2], int(found[3]), int(found[4])
            assert {a, b} <= known, (problem, step)
            assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[op] == value, step
            known.add(value)
        assert value == problem.answer > 0


def test_splits_are_balanced_over_kinds_and_follow_from_the_seed():
    problems = generate("test", 600, Random(5))
    assert [p.question for p in problems] == [p.question for p in generate("test", 600, Random(5))]
    counts = [sum(p.kind == kind.__name__[1:] for p in problems) for kind in TUNING_KINDS]
    assert min(counts) > 30


def test_tokenizer_reads_any_text_and_splits_numbers_into_digits():
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    text = "Zoë paid £12,345 — naïve?\n\t#### 678 日本"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert sum(tokenizer.decode([i]).isdigit() for i in ids) == 8
    assert tokenizer.eos_token_id is not None


def test_the_general_texts_are_those_that_the_script_makes(script):
    texts = [json.loads(line)["text"] for line in script.FILES["general"].read_text().splitlines()]
    assert texts == script.general_texts()
    assert 0.6 < sum("?" in text for text in texts) / len(texts) < 0.8
