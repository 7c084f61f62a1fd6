"""A run's accuracy is what the stock lm_eval command finds on the exported model, to the last question."""

import os
from typing import Any

import polars as pl
import pytest
import torch
from command import bench, row_of
from huggingface_hub import ModelCard
from small_runs import make, small, store_in
from stock_lm_eval import samples as stock_samples
from stock_lm_eval import samples_of_the_command
from transformers import AutoModelForCausalLM

import antipasto
from antipasto_bench.cli.output import export_notices
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.fingerprint import sha256_of
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.export import export_merged, export_peft, load_adapted
from antipasto_bench.run.remeasure import remeasure
from antipasto_bench.spec.config import EvalConfig
from antipasto_bench.store.table import find

SHORT = ["steps=40", "eval.limit=30", "eval.valid=none", "eval.batch_size=30", "costs=false"]

pytestmark = pytest.mark.slow


def by_filter(samples: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Scores by filter and question."""
    scores: dict[str, dict[int, float]] = {}
    for sample in samples:
        scores.setdefault(sample["filter"], {})[sample["doc_id"]] = sample["exact_match"]
    return scores


@pytest.mark.long
def test_the_stock_command_gives_the_same_verdict_on_every_question(tmp_path):
    row = row_of(bench("run", "lora", *SHORT, "--json", cwd=tmp_path))
    assert 0 < row["test_accuracy"] < 1
    bench("export", row["run_id"], "--merged", tmp_path / "model", cwd=tmp_path)
    (tmp_path / "eval").mkdir()
    theirs = by_filter(samples_of_the_command(f"pretrained={tmp_path / 'model'}", 30, tmp_path / "eval"))
    items = pl.read_parquet(tmp_path / "results/items" / f"{row['run_id']}.parquet")
    assert set(theirs) == {"given-answer", "strict-match", "flexible-extract"}
    for name in theirs:
        ours = items.filter(pl.col("filter") == name).select("doc_id", "score")
        assert dict(ours.iter_rows()) == theirs[name]


@pytest.mark.long
def test_lm_eval_itself_on_the_embedded_model_gives_the_verdicts_of_an_evaluation(model, tokenizer):
    theirs = by_filter(stock_samples(f"pretrained={MODEL_DIR}", 30))
    config = EvalConfig(tasks=("nano_metamath",), limit=30, batch_size=30)
    scores = Evaluation(config, None).run(model, tokenizer, "test")
    assert scores is not None
    for name in ("given-answer", "strict-match", "flexible-extract"):
        assert {item.doc_id: item.score for item in scores.items if item.filter == name} == theirs[name]
    assert 0 < sum(theirs["given-answer"].values()) < 30
    assert scores.headline()[0] == pytest.approx(sum(theirs["given-answer"].values()) / 30)


def test_an_export_is_a_plain_model_folder_and_overwrites_nothing(tmp_path):
    row = row_of(
        bench("run", "antipasto", "steps=4", "eval.limit=4", "eval.valid=none", "costs=false", "--json", cwd=tmp_path)
    )
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    said = bench("export", row["run_id"], "--merged", "taken", cwd=tmp_path, expect=2).stderr
    assert "exists and is not an empty folder" in said
    bench("export", row["run_id"], "--merged", "model", cwd=tmp_path)
    front = ModelCard.load(tmp_path / "model/README.md").data
    assert (front.model_name, front.library_name) == (row["run_id"], "transformers")
    assert front.eval_results[0].metric_value == row["test_accuracy"]
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert not any("lora_" in name for name in model.state_dict())
    for file in (tmp_path / "outputs" / row["run_id"]).glob("adapter*"):
        file.unlink()
    said = bench("export", row["run_id"], "--merged", "again", cwd=tmp_path, expect=2).stderr
    assert "is not on this machine" in said


@pytest.fixture(scope="module")
def bfloat16_run(tmp_path_factory):
    """A small update in bfloat16, which merging rounds away in part."""
    store = store_in(tmp_path_factory.mktemp("run"))
    record = make(small("lora", dtype="bfloat16", **{"eval.limit": 8, "eval.valid": "none"}), store).record
    return record, store


def test_a_merged_export_in_float32_holds_the_whole_update(bfloat16_run, tmp_path, tokenizer):
    record, store = bfloat16_run
    rounded = export_merged(record.run_id, tmp_path / "rounded", store)
    whole = export_merged(record.run_id, tmp_path / "whole", store, "float32")
    half = export_merged(record.run_id, tmp_path / "half", store, "float16")
    assert rounded.error > 0.01
    assert whole.error < 1e-3
    assert whole.error < half.error < rounded.error
    trained, _ = load_adapted(record, record.config, store)
    trained.float()
    ids = tokenizer("Question: Ann has 12 pears.\nAnswer:", return_tensors="pt")["input_ids"]
    models = {e.dtype: AutoModelForCausalLM.from_pretrained(e.folder, dtype="auto") for e in (rounded, whole, half)}
    assert {name: str(model.dtype) for name, model in models.items()} == {name: f"torch.{name}" for name in models}
    with torch.no_grad():
        expected = trained(ids).logits
        assert torch.allclose(models["float32"](ids).logits, expected, atol=1e-4)
        rounded_logits = models["bfloat16"].float()(ids).logits
    assert not torch.allclose(rounded_logits, expected, atol=1e-2)
    assert any("--dtype float32" in notice for notice in export_notices(rounded))
    assert not any("--dtype" in notice for notice in export_notices(whole))


def test_a_run_is_exported_and_measured_again_after_its_task_has_changed(bfloat16_run, tmp_path, monkeypatch):
    """The record names the run's folder; an id made from its config again is another one by then."""
    record, store = bfloat16_run
    monkeypatch.setattr("antipasto_bench.spec.data_and_eval.task_fingerprint", lambda name: f"another {name}")
    assert record.config.run_id != record.run_id
    assert (export_merged(record.run_id, tmp_path / "model", store).folder / "config.json").exists()
    assert (export_peft(record.run_id, tmp_path / "peft", store) / "adapter_config.json").exists()
    general = "benchmark/data/nano/general.jsonl"
    assert remeasure(record.run_id, store, general).general_loss is not None


def test_the_command_says_what_merging_loses_and_knows_three_dtypes(bfloat16_run, tmp_path):
    record, store = bfloat16_run
    folders = ["--results", store.results, "--outputs", store.outputs]
    done = bench("export", record.run_id, "--merged", tmp_path / "model", *folders, cwd=tmp_path)
    assert done.stdout.strip() == str(tmp_path / "model")
    assert "of the adapter's effect away from the trained adapter's; --dtype float32 rounds nothing away" in done.stderr
    said = bench("export", record.run_id, "--peft", "a", "--dtype", "float32", *folders, cwd=tmp_path, expect=2).stderr
    assert "--dtype is for --merged" in said
    bench("export", record.run_id, "--merged", "a", "--dtype", "float64", *folders, cwd=tmp_path, expect=2)


def test_an_adapter_that_is_not_the_one_that_the_run_trained_is_one_line(tmp_path, model):
    run, store = small("lora"), store_in(tmp_path)
    record = make(run, store).record
    adapter = store.run_folder(run.run_id).adapter
    assert record.adapter_sha256 == sha256_of(adapter)
    assert find(store.table, run.run_id).adapter_sha256 == record.adapter_sha256
    own, older = adapter.read_bytes(), record.model_copy(update={"adapter_sha256": None})
    adapter.write_bytes(own[:-1] + bytes([own[-1] ^ 1]))
    with pytest.raises(UserError, match="trained: its digest is another"):
        load_adapted(record, run, store)
    for cfg, said in (
        (antipasto.IA3Config(), "it is of ia3;"),
        (antipasto.LoRAConfig(r=4, target_names=("q_proj",)), r"it is of r=4, .*target_names=\['q_proj'\]"),
    ):
        antipasto.attach(model, cfg)
        antipasto.save(model, adapter)
        antipasto.detach(model)
        with pytest.raises(UserError, match="its digest is another"):
            load_adapted(record, run, store)
        with pytest.raises(UserError, match=said):
            load_adapted(older, run, store)
    adapter.write_bytes(own)
    for row in (record, older):
        attached, _ = load_adapted(row, run, store)
        assert antipasto.attachment(attached).cfg == run.adapter_config
