"""Claims about the base model: which one it is, wherever it comes from."""

from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from antipasto_bench.core.errors import UserError
from antipasto_bench.run import shape_costs
from antipasto_bench.run.model_checks import check_quantisation
from antipasto_bench.run.models import has_linear_attention, model_commit
from antipasto_bench.run.shape_costs import meta_model
from antipasto_bench.spec.compose import compose

MAIN, OLDER = "0" * 39 + "1", "0" * 39 + "2"


def test_the_commit_of_a_hub_model_is_that_of_its_files_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--name"
    for name, commit in (("main", MAIN), ("v1", OLDER)):
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / name).write_text(commit)
    assert model_commit(compose("lora", {"model": "org/name"}, "nano")) == MAIN
    assert model_commit(compose("lora", {"model": "org/name", "revision": "v1"}, "nano")) == OLDER
    assert model_commit(compose("lora", {"model": "org/name", "revision": OLDER}, "nano")) == OLDER
    assert model_commit(compose("lora", {"model": "org/other"}, "nano")) is None
    assert model_commit(compose("lora", {}, "nano")) is None, "a folder has its content's digest instead"


def test_a_model_says_by_its_config_whether_it_has_linear_attention(monkeypatch):
    monkeypatch.setattr(shape_costs, "shipped_outline", lambda configuration: None)  # an outline has no config
    assert has_linear_attention(meta_model(compose("base", {}, "qwen3.5-0.8b")))
    assert not has_linear_attention(meta_model(compose("base", {}, "nano")))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"quant_method": "evil"}, "'evil'"), ({}, "None"), (3, "expected a mapping"), ({"quant_method": ["a"]}, "'a'")],
)
def test_an_unknown_way_of_quantisation_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        check_quantisation(SimpleNamespace(quantization_config=settings))


@pytest.mark.parametrize("settings", [None, {"quant_method": "gptq"}, {"load_in_8bit": True}])
def test_a_known_way_of_quantisation_is_none_of_its_business(settings):
    check_quantisation(SimpleNamespace(quantization_config=settings))
