"""Claims about shipped outlines: they are what transformers builds, and give the prices that it gives."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from antipasto_bench.core.paths import benchmark_dir
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run import shape_costs
from antipasto_bench.run.outlines import Outline, outline_file, shipped_outline
from antipasto_bench.run.shape_costs import cost_of_shapes
from antipasto_bench.spec.compose import compose

ARMS = ("lora", "peft:lora")
CONFIGURATIONS = [*sorted((benchmark_dir() / "architectures").glob("*.json")), MODEL_DIR / "config.json"]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_an_outline_is_the_model_that_transformers_builds(path):
    configuration = json.loads(path.read_text())
    values = dict(configuration)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
    outline = shipped_outline(configuration)
    assert outline is not None, "write it: python scripts/outlines.py"
    assert outline == Outline.of(model)
    built = outline.build(torch.float32)
    assert Outline.of(built) == outline
    assert {name: p.shape for name, p in built.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}


@pytest.mark.parametrize("preset", ["nano", "qwen3-0.6b", "qwen3.5-0.8b", "smollm2-135m"])
def test_prices_of_an_outline_are_those_of_the_model(preset, monkeypatch):
    arms = {
        "base": {}, "lora": {}, "antipasto": {"rotate_basis": "both"}, "dora": {"targets": "all-linear", "rank": 8},
    }  # fmt: skip
    runs = [compose(variant, words, preset) for variant, words in arms.items()]
    outlined = [cost_of_shapes(run) for run in runs]
    monkeypatch.setattr(shape_costs, "shipped_outline", lambda configuration: None)
    assert [cost_of_shapes(run) for run in runs] == outlined


def test_an_outline_that_is_damaged_is_not_used(tmp_path, monkeypatch):
    configuration = json.loads((MODEL_DIR / "config.json").read_text())
    text = outline_file(configuration).read_text()
    monkeypatch.setattr("antipasto_bench.run.outlines.benchmark_dir", lambda: tmp_path)
    path = outline_file(configuration)
    path.parent.mkdir(parents=True)
    for damaged in ("", text[:-10], "[]", text.replace('"path":""', '"path":1', 1)):
        path.write_text(damaged)
        assert shipped_outline(configuration) is None
    path.write_text(text)
    assert shipped_outline(configuration) is not None


def test_a_tuner_of_peft_is_priced_on_transformers_own_model():
    pytest.importorskip("peft")
    ours, theirs = (cost_of_shapes(compose(name, {"targets": "q_proj", "rank": 4}, "nano")) for name in ARMS)
    assert theirs.trainable_params == ours.trainable_params > 0
    assert theirs.added_macs_per_token == ours.added_macs_per_token
