"""Claims about data sets of the hub: they are read at the revision that was given, and their commit is known."""

import json
import re

import datasets
import polars as pl
import pytest
from datasets import Dataset
from hub_cache import MAIN, OLDER, HubCache
from small_runs import make, small, store_in

from antipasto_bench.core.errors import UserError
from antipasto_bench.run.data import load_splits, question_source
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.hub_sets import commit_of, load_hub_set
from antipasto_bench.run.rows import TRAIN_FIELDS, read_source
from antipasto_bench.spec.config import DataConfig, EvalConfig


def rows(first, count=24):
    return [
        {"query": f"What is {i}+1?", "response": f"{i}+1={i + 1}.\nThe answer is: {i + 1}"}
        for i in range(first, first + count)
    ]


def questions(first, count=4):
    return [{"question": f"What is {i}-1?", "answer": f"#### {i - 1}"} for i in range(first, first + count)]


def both(first):
    """Splits of one schema, as every set of the hub has."""
    empty = dict.fromkeys(("query", "response", "question", "answer"), "-")
    return {
        "train": [empty | row for row in rows(first)],
        "test": [empty | row for row in questions(first)],
    }


@pytest.fixture
def hub(tmp_path, monkeypatch):
    cache = HubCache(tmp_path / "cache", monkeypatch)
    cache.add(OLDER, both(100), "v1")
    cache.add(MAIN, both(500), "main")
    return cache


def test_a_hub_set_is_read_at_its_revision_whatever_was_prepared_last(hub):
    for revision, commit, first in (("v1", OLDER, 100), (OLDER, OLDER, 100), ("main", MAIN, 500), (MAIN, MAIN, 500)):
        source = read_source("org/Sums", TRAIN_FIELDS, "train", revision)
        assert source.origin.commit == commit
        assert source.frame["query"][0] == f"What is {first}+1?"
        assert question_source("org/Sums", "test", revision).frame["question"][0] == f"What is {first}-1?"
        assert len(question_source("org/Sums:default", "test", revision).frame) == 4


def test_without_a_revision_the_commit_of_what_was_read_is_known(hub):
    source = read_source("org/Sums", TRAIN_FIELDS, "train")
    assert (source.origin.commit, source.frame["query"][0]) == (MAIN, "What is 500+1?"), "what was prepared last"
    assert commit_of(Dataset.from_list(rows(0))) is None
    online = Dataset.from_list(rows(0))
    online.info.download_checksums = {f"hf://datasets/org/Sums@{MAIN}/train.parquet": {"num_bytes": 1}}
    assert commit_of(online) == MAIN


def test_an_unknown_revision_says_what_to_type(hub):
    with pytest.raises(UserError, match=r"data\.revision=v9: neither the hub .* write data\.revision=COMMIT") as error:
        read_source("org/Sums", TRAIN_FIELDS, "train", "v9")
    assert "\n" not in str(error.value)
    absent = "f" * 40
    with pytest.raises(
        UserError, match=r"eval\.revision: org/Sums was wanted at commit f{12}, and the cache gave 0{12}"
    ):
        question_source("org/Sums", "test", absent)


def test_online_the_resolved_commit_is_what_is_loaded(hub, monkeypatch):
    """As `datasets` is called where nothing was prepared yet."""
    calls = []

    def load_dataset(name, config, **settings):
        calls.append((name, config, settings))
        loaded = Dataset.from_list(rows(0))
        loaded.info.download_checksums = {f"hf://datasets/{name}@{OLDER}/train.parquet": {}}
        return loaded

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    hub.datasets.rename(hub.datasets.with_name("elsewhere"))
    assert len(load_hub_set("org/Sums:main", "train", "v1", "data.revision")) == 24
    load_hub_set("org/Sums", "train", None, "data.revision")
    assert calls == [
        ("org/Sums", "main", {"split": "train", "revision": OLDER}),
        ("org/Sums", None, {"split": "train", "revision": None}),
    ]


def test_a_file_has_no_revisions(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(0)))
    tested = tmp_path / "q.jsonl"
    tested.write_text("".join(json.dumps(row) + "\n" for row in questions(0)))
    scoring = EvalConfig(tasks=("gsm8k_metamath",), data=str(tested), revision="v1", valid="none")
    with pytest.raises(UserError, match=rf"data\.revision=v1: {re.escape(str(path))} is no hub set, .* leave out data"):
        load_splits(DataConfig(train=str(path), revision="v1"), scoring)
    with pytest.raises(
        UserError, match=rf"eval\.revision=v1: {re.escape(str(tested))} is no hub set, .* leave out eval"
    ):
        Evaluation(scoring, None)
    with pytest.raises(
        UserError, match=r"eval\.revision=v1: the questions of eval\.tasks=nano_metamath are no hub set"
    ):
        Evaluation(EvalConfig(tasks=("nano_metamath",), revision="v1", valid="none"), None)


TASK = """
task: sums
dataset_path: org/Sums
output_type: generate_until
test_split: test
doc_to_text: "Question: {{question}} Think step by step.\\nAnswer:"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["Question:"], do_sample: false, max_gen_toks: 4}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture
def sums_task(tmp_path, monkeypatch):
    """A project whose task has its questions on the hub."""
    (tmp_path / "benchmark" / "tasks" / "sums").mkdir(parents=True)
    (tmp_path / "benchmark" / "presets").mkdir()
    (tmp_path / "benchmark" / "tasks" / "sums" / "sums.yaml").write_text(TASK)
    monkeypatch.chdir(tmp_path)


def test_a_tasks_own_questions_are_read_at_the_revision(tmp_path, monkeypatch, sums_task):
    cache = HubCache(tmp_path / "cache", monkeypatch)
    cache.add(OLDER, both(100), "v1")
    evaluation = Evaluation(EvalConfig(tasks=("sums",), revision="v1", valid="none"), None)
    assert evaluation.commits == {"sums": OLDER}
    assert evaluation.test_questions[0] == "What is 100-1?"
    assert Evaluation(EvalConfig(tasks=("sums",), valid="none"), None).commits == {"sums": OLDER}
    with pytest.raises(UserError, match=r"eval\.revision: org/Sums was wanted at commit 0{11}.*go online once"):
        Evaluation(EvalConfig(tasks=("sums",), revision=MAIN, valid="none"), None)


def test_a_question_that_a_hub_set_has_twice_counts_once(tmp_path, monkeypatch):
    cache = HubCache(tmp_path / "cache", monkeypatch)
    repeated = [*questions(1), *questions(2)]
    cache.add(MAIN, {"train": repeated, "test": repeated})
    with pytest.warns(UserWarning, match="nano_metamath: 3 questions come twice and count once"):
        evaluation = Evaluation(EvalConfig(tasks=("nano_metamath",), data="org/Sums", valid="none"), None)
    assert len(evaluation.test_questions) == 5
    assert evaluation.repeated == {"nano_metamath": 3}
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(0)))
    splits = load_splits(DataConfig(train=str(path)), EvalConfig(tasks=("nano_metamath",), valid="org/Sums"))
    assert splits.valid is not None
    assert len(splits.valid) == 5


@pytest.mark.slow
def test_a_run_records_the_commit_of_each_hub_set_beside_its_digest(hub, tmp_path):
    given = {"data.train": "org/Sums", "data.revision": "v1", "eval.data": "org/Sums", "eval.revision": "main"}
    record = make(small("lora", **given, **{"eval.limit": 4, "eval.valid": "holdout"}), store_in(tmp_path)).record
    assert record is not None
    assert record.provenance is not None
    recorded = {name: digest.commit for name, digest in record.provenance.data.items()}
    assert recorded == {"train": OLDER, "valid": OLDER, "test:nano_metamath": MAIN}
    assert all(len(digest.sha256) == 64 for digest in record.provenance.data.values())
    assert pl.read_parquet(store_in(tmp_path).items(record.run_id)).filter(split="test").height > 0
