"""Claims about model folders that no run can use: each is refused before training, and the file or tensor is named."""

import warnings

import pytest
import torch
from broken_models import BROKEN, EMBEDDINGS, WEIGHTS, broken_model, config, sharded, weights
from tiny_gguf import write_tiny_gguf

from antipasto_bench.core.errors import UserError
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.run.model_checks import check_weights
from antipasto_bench.run.model_files import check_model_folder
from antipasto_bench.run.models import load_model
from antipasto_bench.run.shape_costs import meta_model
from antipasto_bench.spec.compose import compose

pytestmark = pytest.mark.slow

MISLEADING = (
    "backend tokenizer from one of",
    "above report",
    "object has no attribute",
    "argument after **",
    "Traceback",
)


def run_of(folder, **given):
    return compose("lora", {"model": str(folder)} | given, "nano")


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_folder_that_no_run_can_use_is_refused_before_training(tmp_path, name):
    fault, said = BROKEN[name]
    folder = broken_model(tmp_path / "model", fault)
    with pytest.raises(UserError) as refused:
        load_model(run_of(folder))
    message = str(refused.value)
    assert message.startswith(f"model={folder}: ")
    assert said in message.replace(str(tmp_path), "")
    assert "\n" not in message
    assert not [text for text in MISLEADING if text in message]


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in BROKEN
        if name.startswith(("config", "model_type", "num_", "vocab_size huge", "an encoder", "a vision"))
    ],
)
def test_a_config_that_is_refused_is_refused_without_its_weights_too(tmp_path, name):
    fault, _ = BROKEN[name]
    folder = broken_model(tmp_path / "model", fault)
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match="model="):
        meta_model(run_of(folder))


def test_the_embedded_model_in_two_files_loads_as_it_is(tmp_path):
    folder = broken_model(tmp_path / "model", sharded())
    whole, _ = load_model(compose("lora", {}, "nano"))
    parts, _ = load_model(run_of(folder))
    state = parts.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())


def test_weights_that_the_model_has_no_use_for_are_a_warning(tmp_path):
    extra = "model.layers.0.mlp.gate_extra.weight"
    folder = broken_model(tmp_path / "model", weights(lambda tensors: tensors | {extra: torch.ones(2)}))
    with pytest.warns(UserWarning, match="1 weights that the model has no use for, such as .*gate_extra"):
        load_model(run_of(folder))


def test_weights_beyond_float16_are_refused_with_a_dtype_that_holds_them(tmp_path):
    def enlarge(tensors):
        return tensors | {EMBEDDINGS: tensors[EMBEDDINGS].float() * 0 + 1e5}

    folder = broken_model(tmp_path / "model", weights(enlarge))
    with pytest.raises(UserError, match=r"embed_tokens.weight is not finite .*write dtype=float32"):
        load_model(run_of(folder, dtype="float16"))
    model, _ = load_model(run_of(folder))
    check_weights(model)


def test_a_folder_of_the_right_kind_is_not_refused(tmp_path):
    check_model_folder(MODEL_DIR)
    folder = broken_model(tmp_path / "model", config(num_nextn_predict_layers=1, rope_scaling=None))
    check_model_folder(folder)


def test_the_folder_of_a_run_is_refused_with_the_command_that_exports_it(tmp_path):
    folder = tmp_path / "nano__lora__12345678"
    folder.mkdir()
    for name in ("adapter.safetensors", "config.yaml"):
        (folder / name).touch()
    with pytest.raises(UserError, match="antipasto-bench export nano__lora__12345678 --merged DIR"):
        load_model(run_of(folder))


def test_a_folder_that_is_no_model_is_not_hashed(tmp_path, monkeypatch):
    (tmp_path / "film.mkv").write_bytes(b"0" * 1000)
    monkeypatch.setattr("antipasto_bench.core.fingerprint._hash_content", lambda *_: pytest.fail("read the folder"))
    from antipasto_bench.core.fingerprint import model_fingerprint

    assert model_fingerprint(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "GGUF"), (b"hello", "GGUF"), (b"GGUF", "GGUF"), (b"GGUF\x03\0\0\0" + b"\xff" * 16, "GGUF")],
)
def test_a_file_that_is_no_gguf_is_refused(tmp_path, monkeypatch, content, said):
    monkeypatch.setenv("ANTIPASTO_MODELS", str(tmp_path / "cache"))
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as GGUF") as refused:
        load_model(run_of(file))
    assert said in str(refused.value)


def test_a_gguf_file_that_was_cut_short_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPASTO_MODELS", str(tmp_path / "cache"))
    file = tmp_path / "model.gguf"
    write_tiny_gguf(file)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(UserError, match="cannot be read as GGUF"):
        load_model(run_of(file))


def test_a_4_bit_base_that_was_evaluated_on_a_cpu_is_loaded_anew_without_a_word():
    pytest.importorskip("bitsandbytes")
    run, models = compose("lora", {"quant": "4bit"}, "nano"), ModelCache()
    model, _ = models.model(run)
    for module in model.modules():
        if hasattr(getattr(module, "weight", None), "quant_state"):
            module.weight.quant_state.packing_format_for_cpu = True  # as some CPUs' kernels leave it
            module.weight.data = module.weight.data + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models.give_back(run.model_copy(update={"variant": "base", "adapter": {}}), model)
    assert not models.holds_a_model
