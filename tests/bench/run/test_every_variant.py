"""Claims on every variant through the command line: it trains, scores, gets its row, is loaded again and exported."""

import json

import peft
import pytest
import torch
from command import bench, row_of
from small_runs import one_layer

import antipasto
from antipasto_bench.run.export import export_peft, finished_record, load_adapted
from antipasto_bench.run.local_files import runnable_config
from antipasto_bench.run.models import load_model
from antipasto_bench.store.folders import Store

LORA_LIKE = {"lora", "pissa", "eva", "delora"} | {
    name for name, cls in antipasto.CONFIGS.items() if issubclass(cls, antipasto.FrozenBasisConfig)
}

SHORT = [
    "steps=8", "batch_size=4", "eval.limit=4", "eval.valid=none", "eval.batch_size=4", "costs=false",
    "eval.general=none", f"model={one_layer()}",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One process makes a short run of every variant."""
    folder = tmp_path_factory.mktemp("every")
    bench("sweep", ",".join(antipasto.CONFIGS), *SHORT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def rows(home) -> dict[str, dict]:
    lines = (home / "results/table.ndjson").read_text().splitlines()
    return {row["variant"]: row for row in map(json.loads, lines)}


@pytest.mark.slow
@pytest.mark.long
def test_every_variant_has_its_row(rows):
    assert rows.keys() == antipasto.CONFIGS.keys()
    for name, row in rows.items():
        assert row["status"] == "ok", row["error"]
        trains = antipasto.CONFIGS[name].trains
        assert (row["trained_parameters"] > 0) == trains
        assert (row["lr"] is not None) == trains
        assert ("lr" in row["run_id"]) == trains
        assert row["adapter_bytes"] > 0
        assert row.get("mean_grad_norm", 0) > 0 or not trains


@pytest.mark.slow
@pytest.mark.long
def test_what_a_variant_lacks_is_not_in_its_id(home, rows):
    for name in ("ia3", "ia3_ff", "road"):
        assert rows[name]["rank"] is None
        assert "__r16" not in rows[name]["run_id"]
    said = bench("sweep", "ia3,road,sspace", "rank=4,8", "lr=1e-3,1e-2", *SHORT, "--dry-run", cwd=home).stdout
    assert "6 runs" in said, "rank multiplies sspace alone, lr the other two"
    assert "rfull" in rows["delta_s"]["run_id"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["antipasto", "pissa", "antipasto_corda", "hra"])
def test_a_run_exports_what_it_was(home, rows, name):
    if name in LORA_LIKE:
        folder = bench("export", rows[name]["run_id"], "--peft", f"{name}-lora", cwd=home).stdout.strip()
        assert json.loads((home / folder / "adapter_config.json").read_text())["peft_type"] == "LORA"
    else:
        said = bench("export", rows[name]["run_id"], "--peft", f"{name}-lora", cwd=home, expect=2).stderr
        assert f"{name} does not change W by a product of rank r" in said
        assert not (home / f"{name}-lora").exists()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", sorted(LORA_LIKE))
def test_peft_answers_from_the_exported_folder_as_the_run_did(home, rows, name, tmp_path):
    store = Store(home / "results", home / "outputs")
    folder = export_peft(rows[name]["run_id"], tmp_path / "lora", store)
    record = finished_record(rows[name]["run_id"], store)
    run = runnable_config(record, store)
    ours, tokenizer = load_adapted(record, run, store)
    base, _ = load_model(run)
    ids = tokenizer("Question: Ann has 12 pears and buys 5.\nAnswer: Ann has 12+5=17.", return_tensors="pt")[
        "input_ids"
    ]
    with torch.no_grad():
        untuned = base(ids).logits
        theirs = peft.PeftModel.from_pretrained(base, str(folder)).eval()(ids).logits
        expected = ours(ids).logits
    assert (theirs - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (expected - untuned).abs().max() > 1e-4 * expected.abs().max()


@pytest.mark.slow
@pytest.mark.long
def test_an_export_without_a_word_on_how_is_one_clear_error(home, rows):
    for words in ([], ["--peft", "a", "--merged", "b"]):
        said = bench("export", rows["lora"]["run_id"], *words, cwd=home, expect=2).stderr
        assert said == "error: give one of --merged DIR (a whole model) and --peft DIR (a LoRA folder)\n"
    said = bench("export", rows["sspace"]["run_id"], "--merged", "m", cwd=home, expect=2).stderr
    assert "sspace is not a change of the weight" in said


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("quant", ["8bit", "4bit"])
def test_a_quantised_base_trains_scores_and_says_so(tmp_path, quant):
    row = row_of(bench("run", "lora", f"quant={quant}", *SHORT, "--json", cwd=tmp_path))
    assert row["status"] == "ok"
    assert row["config"]["quant"] == quant
    said = bench("run", "pissa", f"quant={quant}", *SHORT, cwd=tmp_path, expect=2).stderr
    assert "pissa changes the weight itself" in said
    assert "Traceback" not in said
