"""A run's accuracy is what the stock lm_eval command finds on the exported model, to the last question."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from command import bench, row_of
from transformers import AutoModelForCausalLM

from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.spec.config import EvalConfig

TASKS = Path(__file__).parents[3] / "benchmark" / "tasks"
SHORT = ["steps=40", "eval.limit=50", "eval.valid=none", "eval.batch_size=50", "costs=false"]

pytestmark = pytest.mark.slow


def stock_lm_eval(model: Path, task: str, limit: int, out: Path) -> dict[str, dict[int, float]]:
    """Scores by filter and question from the `lm_eval` command, which knows nothing of this project."""
    arguments = ["--model", "hf", "--model_args", f"pretrained={model}", "--device", "cpu", "--batch_size", "50"]
    arguments += ["--include_path", str(TASKS), "--tasks", task, "--limit", str(limit)]
    arguments += ["--log_samples", "--output_path", str(out)]
    command = [sys.executable, "-m", "lm_eval", "run", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}, cwd=out)
    assert done.returncode == 0, done.stderr[-2000:]
    (samples,) = out.rglob(f"samples_{task}_*.jsonl")
    scores: dict[str, dict[int, float]] = {}
    for line in samples.read_text().splitlines():
        sample = json.loads(line)
        scores.setdefault(sample["filter"], {})[sample["doc_id"]] = sample["exact_match"]
    return scores


@pytest.mark.long
def test_the_stock_command_gives_the_same_verdict_on_every_question(tmp_path):
    row = row_of(bench("run", "lora", *SHORT, "--json", cwd=tmp_path))
    assert 0 < row["test_accuracy"] < 1
    bench("export", row["run_id"], "--merged", tmp_path / "model", cwd=tmp_path)
    (tmp_path / "eval").mkdir()
    theirs = stock_lm_eval(tmp_path / "model", "nano_metamath", 50, tmp_path / "eval")
    items = pl.read_parquet(tmp_path / "results/items" / f"{row['run_id']}.parquet")
    assert set(theirs) == {"given-answer", "strict-match", "flexible-extract"}
    for name in theirs:
        ours = items.filter(pl.col("filter") == name).select("doc_id", "score")
        assert dict(ours.iter_rows()) == theirs[name]


@pytest.mark.long
def test_the_stock_command_on_the_embedded_model_gives_the_verdicts_of_an_evaluation(tmp_path, model, tokenizer):
    theirs = stock_lm_eval(MODEL_DIR, "nano_metamath", 60, tmp_path)
    config = EvalConfig(tasks=("nano_metamath",), limit=60, batch_size=50)
    scores = Evaluation(config, None).run(model, tokenizer, "test")
    assert scores is not None
    for name in ("given-answer", "strict-match", "flexible-extract"):
        assert {item.doc_id: item.score for item in scores.items if item.filter == name} == theirs[name]
    assert 0 < sum(theirs["given-answer"].values()) < 60
    assert scores.headline()[0] == pytest.approx(sum(theirs["given-answer"].values()) / 60)


def test_an_export_is_a_plain_model_folder_and_overwrites_nothing(tmp_path):
    row = row_of(
        bench("run", "antipasto", "steps=4", "eval.limit=4", "eval.valid=none", "costs=false", "--json", cwd=tmp_path)
    )
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    said = bench("export", row["run_id"], "--merged", "taken", cwd=tmp_path, expect=2).stderr
    assert "exists and is not an empty folder" in said
    bench("export", row["run_id"], "--merged", "model", cwd=tmp_path)
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert not any("lora_" in name for name in model.state_dict())
    for file in (tmp_path / "outputs" / row["run_id"]).glob("adapter*"):
        file.unlink()
    said = bench("export", row["run_id"], "--merged", "again", cwd=tmp_path, expect=2).stderr
    assert "is not on this machine" in said
