"""Claims about the presets of published protocols: they plan and make runs on a stand-in of their model and data."""

import json
from pathlib import Path

import pytest
import torch
from command import SHARED
from small_runs import make, store_in
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.examples import PROMPT
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.sweep import sweep_of
from antipasto_bench.store.record import RunRecord
from antipasto_bench.sweeps.plan import plan, summary

ROOT = Path(__file__).parents[3] / "benchmark"
PRESETS = ["lora-lite-qwen3-0.6b", "lora-lite-qwen3.5-0.8b", "peft-llama-3.2-3b"]
PUBLISHED = SHARED / "reference/peft_experiments/default_training_params.json"


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> dict[str, object]:
    """A random Llama that has the embedded model's tokenizer, rows of MetaMathQA's schema and questions of GSM8K's."""
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **shape, **heads, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {
        "model": str(folder), "data.train": str(ROOT / "data/nano/train.parquet"),
        "eval.data": str(ROOT / "tasks/nano_metamath/test.jsonl"), "data.overlap": "refuse-copies",
        "eval.general": "none", "eval.valid_limit": 2, "eval.limit": 3, "costs": False, "rank": 8,
    }  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_of_a_published_protocol_plans_and_makes_its_runs(stand_in, preset, tmp_path):
    store = store_in(tmp_path)
    words = [f"{key}={json.dumps(value) if isinstance(value, bool) else value}" for key, value in stand_in.items()]
    variants = "lora,dora,eva,antipasto"
    planned = plan(sweep_of([variants, "seed=0,1", *words], preset), store)
    assert summary(planned) == "8 owed"
    run = compose("eva", {**stand_in, "steps": 2, "eval.max_new_tokens": 8}, preset)
    outcome = make(run, store)
    assert outcome.status == "ok"
    record = outcome.record
    assert isinstance(record, RunRecord)
    assert record.mean_grad_norm
    assert record.trained_parameters
    log = [json.loads(line) for line in (store.run_folder(run.run_id).path / "log.jsonl").read_text().splitlines()]
    assert log[0]["lr"] == run.lr, "of two steps, the first is the last of a warm-up or has none"


def test_the_preset_of_lora_lite_trains_and_calibrates_on_as_many_rows():
    runs = {name: compose(name, {}, "lora-lite-qwen3.5-0.8b") for name in ("lora", "eva", "antipasto_corda")}
    assert {run.steps * run.batch_size * run.grad_accum for run in runs.values()} == {20_000}
    assert (runs["eva"].data.calibration, runs["antipasto_corda"].data.calibration) == (4 * 2, 64 * 2)
    assert {run.adapter_dtype for run in runs.values()} == {"bfloat16"}


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs ../shared/reference: PEFT's own training parameters")
def test_the_preset_of_peft_says_what_its_training_parameters_do():
    theirs, run = json.loads(PUBLISHED.read_text()), compose("lora", {}, "peft-llama-3.2-3b")
    assert theirs["optimizer_kwargs"] == {"lr": run.lr, "weight_decay": run.weight_decay}
    assert (theirs["model_id"], theirs["dtype"], theirs["lr_scheduler"]) == (run.model, run.dtype, run.schedule)
    assert (theirs["max_steps"], theirs["batch_size"], theirs["batch_size_eval"]) == (5000, 4, run.eval.batch_size)
    assert (run.steps, run.batch_size * run.grad_accum) == (5000, 4)
    assert (theirs["grad_norm_clip"], theirs["max_seq_length"]) == (run.max_grad_norm, run.data.max_length)
    assert theirs["generation_kwargs"]["max_new_tokens"] == run.eval.max_new_tokens
    assert (theirs["autocast_adapter_dtype"], run.adapter_dtype) == (True, "float32")
    assert theirs["query_template"] == PROMPT
