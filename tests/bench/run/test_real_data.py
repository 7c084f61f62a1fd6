"""Real GSM8K and real architectures go through the same path as the embedded world."""

import json
from random import Random

import polars as pl
import pytest
import torch
from command import SHARED, bench, row_of
from datasets import DatasetDict, load_dataset
from transformers import AutoTokenizer, Qwen3_5Config, Qwen3_5ForConditionalGeneration, Qwen3Config, Qwen3ForCausalLM

from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.nano.problems import generate

pytestmark = pytest.mark.slow

TRAIN = SHARED / "data" / "metamath_schema_from_gsm8k_train.jsonl"
TEST = SHARED / "data" / "gsm8k" / "test.jsonl"
needs_gsm8k = pytest.mark.skipif(not TEST.exists(), reason=f"real GSM8K is not beside this checkout ({SHARED})")


@needs_gsm8k
@pytest.mark.long
def test_real_gsm8k_trains_and_scores_on_the_embedded_model(tmp_path):
    words = [f"data.train={TRAIN}", f"eval.data={TEST}", "eval.limit=24", "eval.valid_limit=8", "steps=16"]
    words += ["eval.tasks=gsm8k_metamath", "batch_size=4", "eval.batch_size=24", "costs=false"]
    row = row_of(bench("run", "lora", "preset=nano", *words, "--json", cwd=tmp_path))
    assert row["status"] == "ok"
    assert (row["test_n"], row["valid_n"]) == (24, 8)
    assert row["last_loss"] < row["first_loss"]
    assert row["provenance"]["data"]["train"]["rows"] == 7473 - 8
    assert row["provenance"]["data"]["test:gsm8k_metamath"]["rows"] == 1319
    questions = [json.loads(line)["question"] for line in TEST.read_text().splitlines()[:24]]
    samples = (tmp_path / "outputs" / row["run_id"] / "samples.jsonl").read_text().splitlines()
    asked = {s["doc_id"]: s["prompt"] for s in map(json.loads, samples) if s["split"] == "test"}
    assert asked == {i: f"Question: {q} Think step by step.\nAnswer:" for i, q in enumerate(questions)}
    held = {s["sha1"] for s in map(json.loads, samples) if s["split"] == "valid"}
    assert len(held) == 8


def tiny_text_settings(vocabulary: int) -> dict:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "tie_word_embeddings": True,
    }


@pytest.fixture(scope="module")
def hub_like(tmp_path_factory):
    """Random models of the presets' architectures, and data sets of their schemas, saved in the hub's own formats."""
    home = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    settings = tiny_text_settings(len(tokenizer))
    linear = {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
    # The 0.8B checkpoint is stored with its vision tower, and loaded without.
    whole = Qwen3_5Config(text_config=settings | linear, vision_config=vision, tie_word_embeddings=True)
    models = {
        "qwen3.5-0.8b": Qwen3_5ForConditionalGeneration(whole),
        "qwen3-0.6b": Qwen3ForCausalLM(Qwen3Config(**settings)),
    }
    for name, model in models.items():
        model.to(torch.bfloat16).save_pretrained(home / name)
        tokenizer.save_pretrained(home / name)
    made = generate("train", 40, Random(0))
    rows = [{"query": p.question, "response": p.response, "type": "GSM_AnsAug", "original_question": p.question}
            for p in made]  # fmt: skip
    questions = [{"question": p.question, "answer": p.solution} for p in generate("test", 12, Random(0))]
    pl.DataFrame(rows).write_ndjson(home / "rows.jsonl")
    pl.DataFrame(rows).write_parquet(home / "rows.parquet")
    pl.DataFrame(questions).write_parquet(home / "questions.parquet")
    files = {"train": str(home / "questions.parquet"), "test": str(home / "questions.parquet")}
    cache = str(home / "cache")
    DatasetDict(load_dataset("parquet", data_files=files, cache_dir=cache)).save_to_disk(home / "gsm8k")
    return home


QUICK = ["steps=3", "batch_size=2", "rank=8", "eval.valid_limit=4", "costs=false"]
SHORT = "eval.tasks=nano_metamath"  # answers of at most 64 tokens, not 512


@pytest.mark.long
@pytest.mark.parametrize(
    ("preset", "variant", "train", "test"),
    [
        ("qwen3.5-0.8b", "antipasto", "rows.jsonl", "gsm8k"),
        ("qwen3-0.6b", "lora", "rows.parquet", "questions.parquet"),
    ],
)
def test_a_hub_preset_runs_offline_on_saved_models_and_data(hub_like, tmp_path, preset, variant, train, test):
    words = [f"model={hub_like / preset}", f"data.train={hub_like / train}", f"eval.data={hub_like / test}"]
    if variant == "lora":
        words.append("eval.valid=none")
    row = row_of(bench("run", variant, "--preset", preset, *words, *QUICK, "--json", cwd=tmp_path))
    assert row["status"] == "ok"
    assert row["config"]["dtype"] == "bfloat16"
    assert row["config"]["eval"]["batch_size"] == 64
    assert row["provenance"]["eval_batch_size"] == 64
    assert row["config"]["adapter"]["target_names"] == ["down_proj"]
    assert (row["test_n"], row.get("valid_n")) == (12, None if variant == "lora" else 4)
    per_layer = {"lora": 8 * (48 + 32), "antipasto": 8 + 2 * 6}[variant]
    assert row["trained_parameters"] == 4 * per_layer
    assert row["run_id"].startswith(f"{preset}__{variant}__")


@pytest.mark.long
def test_linear_attention_projections_can_be_targets(hub_like, tmp_path):
    words = [f"model={hub_like / 'qwen3.5-0.8b'}", f"data.train={hub_like / 'rows.jsonl'}", *QUICK]
    words += [f"eval.data={hub_like / 'gsm8k'}", "targets=[in_proj_qkv,in_proj_z,out_proj]", "eval.valid=none", SHORT]
    row = row_of(bench("run", "lora", "--preset", "qwen3.5-0.8b", *words, "--json", cwd=tmp_path))
    assert row["trained_parameters"] == 3 * 8 * ((32 + 48) + (32 + 16) + (16 + 32))


@pytest.mark.long
def test_rows_are_packed_unless_the_model_would_mix_them(hub_like, tmp_path):
    words = [f"data.train={hub_like / 'rows.jsonl'}", f"eval.data={hub_like / 'gsm8k'}", "eval.valid=none", *QUICK]
    words.append(SHORT)
    run = ("run", "lora", "pack=true", "--preset")
    row = row_of(bench(*run, "qwen3-0.6b", f"model={hub_like / 'qwen3-0.6b'}", *words, "--json", cwd=tmp_path))
    assert row["status"] == "ok"
    model = hub_like / "qwen3.5-0.8b"
    done = bench(*run, "qwen3.5-0.8b", f"model={model}", *words, cwd=tmp_path, expect=2)
    assert done.stderr.splitlines()[-1] == (
        f"error: pack=true: {model} carries one example on into the next of its row; write pack=false"
    )


def test_a_way_to_generate_that_is_not_for_a_model_is_refused_before_it_is_trained(hub_like, tmp_path):
    words = [f"data.train={hub_like / 'rows.jsonl'}", f"eval.data={hub_like / 'gsm8k'}", "eval.valid=none", *QUICK]
    words += ["--preset", "qwen3.5-0.8b", f"model={hub_like / 'qwen3.5-0.8b'}", "eval.backend=continuous"]
    done = bench("run", "lora", *words, cwd=tmp_path, expect=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: eval.backend=continuous: not for this model (")
    assert last.endswith("); write eval.backend=hf")
    assert not list(tmp_path.rglob("adapter*"))


@pytest.mark.long
def test_a_task_whose_questions_are_not_here_says_so_in_one_line(hub_like, tmp_path):
    words = [f"model={hub_like / 'qwen3-0.6b'}", f"data.train={hub_like / 'rows.jsonl'}", *QUICK]
    done = bench("run", "lora", "--preset", "qwen3-0.6b", *words, cwd=tmp_path, expect=2)
    assert "eval.tasks=gsm8k_metamath: its questions cannot be loaded" in done.stderr
    assert "give eval.data=PATH" in done.stderr.splitlines()[-1]
    few_shot = [f"eval.data={hub_like / 'gsm8k'}", "eval.tasks=gsm8k"]
    done = bench("run", "lora", "--preset", "qwen3-0.6b", *words, *few_shot, cwd=tmp_path, expect=2)
    assert "only be put into a zero-shot task" in done.stderr
    assert "eval.valid=none" in done.stderr.splitlines()[-1]


def test_without_network_and_cache_one_line_says_what_to_do(tmp_path):
    done = bench("run", "lora", "--preset", "qwen3-0.6b", cwd=tmp_path, expect=2)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "meta-math/MetaMathQA: no such file here" in line
    assert "go online once" in line
    assert "Traceback" not in done.stderr
