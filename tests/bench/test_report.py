"""Claims about the table that people read."""

import random

import polars as pl
import pytest

from antipasto_bench.config import compose
from antipasto_bench.errors import UserError
from antipasto_bench.evaluate import ITEMS_SCHEMA
from antipasto_bench.paths import Store
from antipasto_bench.report import BEGIN, END, render, write_into
from antipasto_bench.results import append, items_digest

PROVENANCE = {
    "hardware": "cpu-of-a-test",
    "device": "cpu",
    "threads": 2,
    "git": {"commit": "0123456789abcdef", "dirty": False},
}


def record(store: Store, variant: str, right: list[int], **given):
    """A row and its items as a run leaves them, with the given questions answered right out of eight."""
    run = compose(variant, given, "nano")
    scores = [1.0 if i in right else 0.0 for i in range(8)]
    items = [
        {"split": "test", "task": "nano_metamath", "doc_id": i, "sha1": str(i), "filter": name,
         "metric": "exact_match", "score": score}
        for name in ("strict-match", "flexible-extract") for i, score in enumerate(scores)
    ]  # fmt: skip
    store.items(run.run_id).parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(items, schema=ITEMS_SCHEMA).write_parquet(store.items(run.run_id))
    trained = variant != "base"
    return {
        "items_sha256": items_digest(pl.DataFrame(items, schema=ITEMS_SCHEMA)),
        "metrics": {"test": {"nano_metamath": {}}},
        "run_id": run.run_id, "status": "ok", "model": run.model, "variant": variant, "rank": run.rank,
        "lr": run.lr if trained else None, "seed": run.seed if trained else None,
        "protocol": run.protocol, "scoring": run.scoring, "arm": run.arm, "config": run.model_dump(mode="json"),
        "test_accuracy": sum(scores) / 8, "test_strict": sum(scores) / 8, "test_n": 8, "valid_accuracy": 0.25,
        "trained_parameters": 1234 if trained else 0, "train_s": 30.0 if trained else None, "eval_s": 5.0,
        "provenance": PROVENANCE,
    }  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def cells(text: str) -> dict[str, list[str]]:
    """Rows of all tables by their first cell."""
    rows = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_seeds_of_an_arm_share_a_row_and_arms_do_not(store):
    rows = [
        record(store, "lora", [0, 1, 2, 3, 4, 5], seed=0),
        record(store, "lora", [0, 1, 2, 3], seed=1),
        record(store, "lora", [0], lr=1e-3),
        record(store, "antipasto", [0, 1, 2]),
        record(store, "antipasto", [0, 1], rotate_basis="none"),
        record(store, "base", [0]),
    ]
    for row in rows:
        append(store.table, row)
    text = render(store)
    table = cells(text)
    order = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert order == ["variant", "lora", "antipasto rotate_basis=V", "antipasto rotate_basis=none", "base", "lora"]
    pooled = next(line for line in text.splitlines() if line.startswith("| lora ") and "62.5" in line)
    assert "62.5 ± " in pooled
    assert pooled.rstrip("| ").endswith("2")
    assert table["antipasto rotate_basis=V"][2] == "37.5 ± 18.3"
    assert table["base"][0] == ""
    assert "n = 8" in text
    assert "cpu-of-a-test, cpu, 2 threads; code 0123456789" in text


def test_runs_of_two_protocols_or_models_share_no_table(store):
    for given in ({}, {"steps": 7}, {"eval.limit": 3}, {"model": "org/other"}):
        append(store.table, record(store, "lora", [0], **given))
    append(store.table, record(store, "base", [0]))
    text = render(store)
    assert text.count("### ") == 4
    assert text.count("| base ") == 2, "the base is scored like the first two protocols and shown with both"


def test_order_of_rows_and_repetition_change_no_byte(store, tmp_path):
    rows = [record(store, v, [0, 1], seed=s) for v in ("lora", "antipasto") for s in range(3)]
    texts = []
    for shuffle in range(3):
        random.Random(shuffle).shuffle(rows)
        store.table.unlink(missing_ok=True)
        for row in rows:
            append(store.table, row)
        texts.append(render(store))
    assert texts[0] == texts[1] == texts[2]
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert write_into(page, texts[0])
    first = page.read_bytes()
    assert not write_into(page, texts[0])
    assert page.read_bytes() == first
    assert first.startswith(b"before\n")
    assert first.endswith(b"after\n")
    assert b"old" not in first


def test_failed_runs_are_named_and_in_no_table(store):
    append(store.table, record(store, "lora", [0]))
    failed = record(store, "lora", [0], lr=1e9) | {
        "status": "failed",
        "error": "the loss is nan",
        "test_accuracy": None,
    }
    append(store.table, failed)
    text = render(store)
    assert text.count("| lora ") == 1
    assert f"- `{failed['run_id']}`: the loss is nan" in text


def test_what_cannot_be_backed_is_not_shown(store, tmp_path):
    with pytest.raises(UserError, match="holds no finished run yet"):
        render(store)
    row = record(store, "lora", [0])
    append(store.table, row)
    store.items(row["run_id"]).unlink()
    with pytest.raises(UserError, match="is missing"):
        render(store)
    record(store, "lora", [0, 1])
    with pytest.raises(UserError, match="is not what the table's row for it was made from"):
        render(store)
    page = tmp_path / "page.md"
    page.write_text("no place")
    with pytest.raises(UserError, match="has no place for the tables"):
        write_into(page, "x")
