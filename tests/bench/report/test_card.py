"""Claims about the card of a result: a hub can read its front matter, and it says no more than was measured."""

import re
import shlex

import pytest
from hostile_rows import ATTACKS, store_of
from huggingface_hub import ModelCard
from recorded import PROVENANCE, failed, record

from antipasto_bench.core.errors import UserError
from antipasto_bench.report.card import card
from antipasto_bench.spec.compose import expand
from antipasto_bench.spec.grammar import parse_words
from antipasto_bench.store.folders import Store
from antipasto_bench.store.origins import DataDigest, ModelSource
from antipasto_bench.store.table import append, read_records

ON_HUB = PROVENANCE.model_copy(
    update={
        "model": ModelSource(source="org/model", commit="a" * 40),
        "data": {
            "train": DataDigest(rows=9, sha256="b" * 64, commit="c" * 40),
            "test:nano_metamath": DataDigest(rows=8, sha256="d" * 64, commit="e" * 40),
        },
    }
)
HUB = {"model": "org/model", "data.train": "org/train:main", "eval.data": "org/test"}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results", tmp_path / "outputs")


def test_the_front_matter_has_the_run_in_the_hubs_schema(store):
    fields = {"provenance": ON_HUB, "test_stderr": 0.1768}
    for seed in (0, 1):
        append(store.table, record(store, "lora", [0, 1, 2 + seed], fields=fields, nats=[5.0] * 8, seed=seed, **HUB))
    row = read_records(store.table)[1]
    text = card(row, store, "peft")
    front = ModelCard(text).data
    assert (front.base_model, front.datasets, front.library_name) == ("org/model", ["org/train"], "peft")
    assert front.base_model_relation == "adapter"
    accuracy, loss = front.eval_results
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", row.test_accuracy)
    assert accuracy.metric_name.startswith("accuracy over 8 questions, ± 0.1768 (one standard error")
    assert (accuracy.dataset_type, accuracy.dataset_revision, accuracy.dataset_name) == (
        "org/test", "e" * 40, "nano_metamath",
    )  # fmt: skip
    assert (loss.metric_type, loss.metric_value) == ("loss", row.test_loss)
    assert "This is one of 2 seeds of the same settings: 0, 1. Over all of them:" in text
    assert "| nano_metamath, 8 questions: % right | 37.5 ± 17.7 |" in text
    assert "| trained parameters | 1,234 |" in text
    assert "PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained('org/model'), FOLDER)" in text
    run, check = re.search(r"```sh\n(.*)\n(.*)\n```", text).groups()
    assert check == f"antipasto-bench reproduce {row.run_id}"
    (made,) = expand(*parse_words(shlex.split(run)[2:]))
    assert made.run_id == row.run_id
    assert ModelCard(card(row, store)).data.library_name is None
    assert "## How to load it" not in card(row, store)


def test_what_is_on_no_hub_is_named_in_the_text_alone(store):
    local = PROVENANCE.model_copy(update={"model": ModelSource(source="sha256:" + "f" * 64, commit=None)})
    row = record(store, "lora", [0], fields={"provenance": local})
    append(store.table, row)
    text = card(row, store, "merged")
    front = ModelCard(text).data
    assert front.base_model is None
    assert front.datasets is None
    assert front.eval_results[0].dataset_type == "nano_metamath"
    assert "benchmark/data/nano/train.parquet" in text
    assert f"Base model: sha256:{'f' * 64}" in text
    assert "nothing follows for the method" in text


def test_a_run_outside_the_table_and_one_without_a_result_say_so(store):
    for lr, valid in ((0.01, 0.5), (0.02, 0.9)):
        append(store.table, record(store, "lora", [0], fields={"valid_accuracy": valid}, lr=lr))
    worse = read_records(store.table)[0]
    assert "It is in no row of the table: its learning rate is not the chosen one" in card(worse, store)
    with pytest.raises(UserError, match="nothing to say of its model"):
        card(failed(store, "lora", "its loss is nan"), store)


@pytest.mark.parametrize(
    "attack", ["".join(ATTACKS[2:12]), "```\n# owned", "\n---\nbase_model: evil/evil\n---", "<b>|"]
)
def test_a_name_of_any_characters_stays_text(attack):
    shapes = []
    for text in (attack, "text"):
        home = store_of(text)
        row = read_records(home.table)[1]
        written = card(row, home, "merged")
        front = ModelCard(written).data
        assert (front.base_model, front.model_name) == (None, row.run_id)
        outside = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", written, flags=re.MULTILINE | re.DOTALL)
        assert "<b>" not in outside
        shapes.append([line for line in outside.splitlines() if line.startswith("##")])
    assert shapes[0] == shapes[1]
