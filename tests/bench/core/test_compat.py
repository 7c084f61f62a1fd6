"""Claims about what is patched in other libraries: each name is there, and without it all is slower and right."""

import builtins
import json
from types import SimpleNamespace

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from datasets import Dataset, load_dataset
from hub_cache import MAIN, HubCache
from lm_eval import utils
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import masking_utils

from antipasto_bench.core.compat import (
    commits_in,
    has_hooks,
    one_sequence_a_row,
    packed_product,
    prepared_hub_set,
    shard_questions,
    task_settings,
    templates_compiled_once,
)
from antipasto_bench.core.paths import benchmark_dir

IDS = torch.arange(12).view(2, 6)
POSITIONS = torch.arange(6).expand(2, -1)


def test_transformers_does_not_look_for_packed_sequences_where_it_is_told_there_are_none(model, monkeypatch):
    calls = []
    original = masking_utils.find_packed_sequence_indices
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda p: calls.append(p) or original(p))
    inputs = {"input_ids": IDS, "position_ids": POSITIONS, "use_cache": False}
    with torch.no_grad():
        with one_sequence_a_row():
            quick = model(**inputs).logits
        assert calls == []
        searched = model(**inputs).logits
    assert len(calls) > 0, "transformers calls it by another name now: the patch does nothing"
    assert torch.equal(quick, searched)
    assert masking_utils.find_packed_sequence_indices is not original, "the patch is taken back"


def test_without_transformers_own_name_nothing_is_patched(monkeypatch):
    monkeypatch.delattr(masking_utils, "find_packed_sequence_indices")
    with one_sequence_a_row():
        assert not hasattr(masking_utils, "find_packed_sequence_indices")


def test_a_template_is_compiled_once_within_the_block_and_renders_the_same():
    text = "Question: {{question}}"
    with templates_compiled_once():
        first, second = utils.env.from_string(text), utils.env.from_string(text)
        assert first is second
        assert utils.apply_template(text, {"question": "1 + 1?"}) == "Question: 1 + 1?"
    assert utils.env.from_string(text) is not utils.env.from_string(text)


def test_without_lm_evals_environment_nothing_is_patched(monkeypatch):
    monkeypatch.delattr(utils, "env")
    with templates_compiled_once():
        assert not hasattr(utils, "env")


def test_lm_evals_model_has_the_rank_that_questions_are_shared_out_by(model, tokenizer):
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)
    assert (lm.rank, lm.world_size) == (0, 1)
    shard_questions(lm, 1, 3)
    assert (lm.rank, lm.world_size) == (1, 3)


def test_a_model_without_ranks_answers_all_questions():
    class Other:
        device = torch.device("cpu")

    lm = Other()
    shard_questions(lm, 1, 3)
    assert vars(lm) == {}


@pytest.mark.parametrize("name", ["nano_metamath", "gsm8k_metamath"])
def test_a_tasks_yaml_is_read_with_what_it_includes(name):
    manager = TaskManager(include_path=str(benchmark_dir() / "tasks"), include_defaults=False)
    settings = task_settings(manager, name)
    assert settings["output_type"] == "generate_until"
    assert settings["task"] == name
    assert [f["name"] for f in settings["filter_list"]] == ["given-answer", "strict-match", "flexible-extract"]


def test_without_lm_evals_loader_the_loaded_task_gives_the_same_settings(monkeypatch):
    manager = TaskManager(include_path=str(benchmark_dir() / "tasks"), include_defaults=False)
    settings = task_settings(manager, "nano_metamath")
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "lm_eval.tasks._yaml_loader":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    slower = task_settings(manager, "nano_metamath")
    for key in ("output_type", "doc_to_text", "doc_to_target", "generation_kwargs", "num_fewshot"):
        assert json.dumps(slower[key], default=str) == json.dumps(settings[key], default=str), key
    assert slower["filter_list"] == settings["filter_list"]


class Called(Exception):  # noqa: N818  (a sentinel)
    """Raised by an overridden method, to show that HFLM calls it."""


class Overridden(HFLM):
    def _model_generate(self, *args, **kwargs):
        raise Called

    def _loglikelihood_tokens(self, *args, **kwargs):
        raise Called


def test_lm_evals_model_calls_the_methods_that_ours_overrides(model, tokenizer):
    lm = Overridden(pretrained=model, tokenizer=tokenizer, batch_size=1)
    settings = {"until": [], "do_sample": False, "max_gen_toks": 2}
    with pytest.raises(Called):
        lm.generate_until([SimpleNamespace(args=("1", settings))], disable_tqdm=True)
    with pytest.raises(Called):
        lm.loglikelihood([SimpleNamespace(args=("1", " 2"))], disable_tqdm=True)


def test_hooks_of_an_adapter_and_of_accelerate_are_seen():
    layer = torch.nn.Linear(4, 4)
    assert not has_hooks(layer)
    handle = layer.register_forward_hook(lambda module, args, y: y)
    assert has_hooks(layer)
    handle.remove()
    assert not has_hooks(layer)
    add_hook_to_module(layer, ModelHook())
    assert has_hooks(layer)


def test_a_prepared_hub_set_is_where_datasets_itself_reads_it(tmp_path, monkeypatch):
    HubCache(tmp_path, monkeypatch).add(MAIN, {"train": [{"text": "a"}], "train_more": [{"text": "b"}]})
    (file,) = prepared_hub_set("org/Sums", "", "train", MAIN)
    loaded = load_dataset("org/Sums", split="train")
    assert [entry["filename"] for entry in loaded.cache_files] == [str(file)], "datasets prepares it elsewhere now"
    assert MAIN in commits_in(loaded)
    assert prepared_hub_set("org/Sums", "other", "train", MAIN) == []
    assert prepared_hub_set("org/Sums", "", "test", MAIN) == []
    assert commits_in(Dataset.from_list([{"text": "a"}])) == []


def test_without_torchs_laid_out_products_layers_multiply_as_ever(monkeypatch):
    layer = torch.nn.Linear(32, 32, dtype=torch.bfloat16)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert packed_product(layer) is not None, "torch has renamed them"
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert packed_product(layer) is None
