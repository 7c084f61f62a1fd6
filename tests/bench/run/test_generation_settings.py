"""Claims about a model's own generation settings: none of them reaches scoring, in any backend, and each is named."""

import sys
from types import SimpleNamespace

import pytest
import torch
from small_runs import make, small, store_in
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers import StopStringCriteria as TransformersStopStrings

from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run import generate, stop_strings
from antipasto_bench.run.answer_log import AnswerLog
from antipasto_bench.run.data import read_questions
from antipasto_bench.run.examples import PROMPT
from antipasto_bench.run.generate import Scorer, scorer
from antipasto_bench.run.generation_settings import draws, dropped_settings, only_needed_settings
from antipasto_bench.spec.compose import compose

OWN = {
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "num_beams": 2,
    "min_new_tokens": 20,
    "suppress_tokens": [5, 6, 7],
    "begin_suppress_tokens": [9],
    "bad_words_ids": [[11, 12]],
    "forced_eos_token_id": 0,
    "sequence_bias": [[[13], -4.0]],
    "exponential_decay_length_penalty": [3, 1.5],
    "temperature": 0.6,
    "top_k": 20,
    "do_sample": True,
    "max_length": 64,
    "return_dict_in_generate": True,
}


@pytest.fixture(scope="module")
def opinionated(tmp_path_factory, tokenizer):
    """The embedded model with generation settings of its own, from a folder."""
    folder = tmp_path_factory.mktemp("model")
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    model.save_pretrained(folder)
    GenerationConfig(eos_token_id=0, pad_token_id=0, **OWN).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def requests():
    questions = read_questions("benchmark/data/nano/valid.jsonl", "test")["question"]
    settings = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 40}
    return [SimpleNamespace(args=(PROMPT.format(query=text), settings)) for text in questions[:8]]


@pytest.mark.parametrize("backend", ["hf", "static", "continuous"])
def test_they_change_no_answer(model, tokenizer, opinionated, requests, backend):
    run = compose("base", {"eval.batch_size": 4, "eval.backend": backend}, "nano")
    own = AutoModelForCausalLM.from_pretrained(opinionated, dtype=torch.float32).eval()
    assert own.generation_config.repetition_penalty == 1.3
    plain, other = (Scorer(m, tokenizer, run.eval).generate_until(requests, disable_tqdm=True) for m in (model, own))
    assert other == plain
    assert own.generation_config.repetition_penalty == 1.3, "they are the model's again"


def test_vllm_is_given_neither_the_file_nor_its_defaults(opinionated, tokenizer, monkeypatch):
    own = AutoModelForCausalLM.from_pretrained(opinionated, dtype=torch.float32).eval()
    found = {}

    def stand_in(folder, dtype, **settings):
        found.update(settings, written=GenerationConfig.from_pretrained(folder))
        return SimpleNamespace()

    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", SimpleNamespace(VLLM=stand_in))
    monkeypatch.setattr("antipasto_bench.run.vllm_scoring.free_on_gpu", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=2**31))
    with scorer(own, tokenizer, compose("base", {"eval.backend": "vllm"}, "nano").eval):
        pass
    assert found["generation_config"] == "vllm"
    assert found["written"].repetition_penalty in (None, 1.0)
    assert found["written"].eos_token_id == 0


def test_those_that_are_not_defaults_are_named(model, opinionated):
    assert dropped_settings(model) == {}
    own = AutoModelForCausalLM.from_pretrained(opinionated, dtype=torch.float32)
    assert dropped_settings(own) == OWN


def test_what_generation_needs_stays(model):
    own = model.generation_config
    with only_needed_settings(model):
        assert model.generation_config is not own
        assert model.generation_config.eos_token_id == own.eos_token_id
        assert model.generation_config.pad_token_id == own.pad_token_id
    assert model.generation_config is own


@pytest.mark.slow
def test_a_run_records_them_and_says_so_once(opinionated, tmp_path, capsys):
    run = small("base", model=str(opinionated), **{"eval.limit": 4, "eval.valid_limit": 4})
    from antipasto_bench.run.context import RunContext
    from antipasto_bench.run.execute import execute
    from antipasto_bench.run.progress import Progress

    record = execute(run, RunContext(store_in(tmp_path / "own"), Progress())).record
    assert record.provenance.generation_settings_dropped == OWN
    said = [line for line in capsys.readouterr().err.splitlines() if "repetition_penalty=1.3" in line]
    assert len(said) == 1
    plain = make(small("base", **{"eval.limit": 4, "eval.valid_limit": 4}), store_in(tmp_path / "plain")).record
    assert plain.provenance.generation_settings_dropped == {}
    assert plain.items_sha256 == record.items_sha256


@pytest.mark.parametrize(
    ("settings", "drawn"),
    [
        ({}, False),
        ({"temperature": 0.0}, False),
        ({"temperature": 0.7}, True),
        ({"do_sample": True}, True),
        ({"do_sample": True, "temperature": 0.7}, True),
        ({"do_sample": False, "temperature": 0.7}, False),
    ],
)
def test_a_temperature_is_a_draw_unless_the_task_says_that_it_is_none(settings, drawn):
    from lm_eval.models.utils import normalize_gen_kwargs

    assert draws(settings) is drawn
    assert normalize_gen_kwargs(settings)["do_sample"] is drawn, "as lm-eval has it"


def test_draws_by_temperature_alone_are_draws_of_their_own(model, tokenizer, requests, tmp_path):
    """As a task with `repeats` asks for; not one draw, copied."""
    run = compose("base", {"eval.batch_size": 4}, "nano")
    lm = Scorer(model, tokenizer, run.eval)
    AnswerLog(tmp_path / "a.jsonl", "adapter").attach_to(lm)
    prompt = requests[0].args[0]
    drawn = [SimpleNamespace(args=(prompt, {"until": [], "temperature": 1.5, "max_gen_toks": 12})) for _ in range(4)]
    torch.manual_seed(0)
    first = lm.generate_until(drawn, disable_tqdm=True)
    assert len(set(first)) > 1
    again = Scorer(model, tokenizer, run.eval)
    AnswerLog(tmp_path / "a.jsonl", "adapter").attach_to(again)
    assert again.generate_until(drawn, disable_tqdm=True) != first, "a log gives no draw again"


def test_stop_strings_are_prepared_once_for_all_scorers_of_a_process(model, tokenizer, requests, monkeypatch):
    prepared = []

    def counting(tokenizer, strings):
        prepared.append(tuple(strings))
        return TransformersStopStrings(tokenizer, strings)

    monkeypatch.setattr(stop_strings, "StopStringCriteria", counting)
    monkeypatch.setattr(generate, "rows_can_leave", lambda model: False)  # whole batches
    stop_strings._prepared.cache_clear()
    run = compose("base", {"eval.batch_size": 4}, "nano")
    for _ in range(3):
        Scorer(model, tokenizer, run.eval).generate_until(requests[:2], disable_tqdm=True)
    assert prepared == [("Question:",)]
    for number in range(20):
        stop_strings.stop_string_criterion(tokenizer, [f"stop {number}"], "end")
    assert stop_strings._prepared.cache_info().currsize <= stop_strings.PREPARED
    stop_strings._prepared.cache_clear()
