"""Claims about how answers are generated: however it is done, they are those of lm-eval's own model."""

import os
from types import SimpleNamespace

import pytest
import torch
from command import bench
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from antipasto_bench import scoring
from antipasto_bench.config import compose
from antipasto_bench.data import PROMPT, read_questions
from antipasto_bench.evaluate import Evaluation
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.scoring import Scorer, fitting

SETTINGS = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 40}


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_DIR)


@pytest.fixture(scope="module")
def prompts():
    questions = read_questions("benchmark/data/nano/valid.jsonl", "test")["question"]
    return [PROMPT.format(query=text) for text in questions[:24]]


def asked(prompts, **settings):
    return [SimpleNamespace(args=(prompt, SETTINGS | settings)) for prompt in prompts]


def scorer(model, tokenizer, **given):
    run = compose("base", {f"eval.{name}": value for name, value in given.items()}, "nano")
    return Scorer(model, tokenizer, run.eval)


def lm_evals_own(model, tokenizer):
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=10)


def counted(model, work):
    calls = []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        return work(), len(calls)
    finally:
        handle.remove()


@pytest.mark.parametrize("backend", ["hf", "static", "continuous"])
@pytest.mark.parametrize("batch_size", [7, "auto"])
def test_every_way_to_generate_gives_the_answers_of_lm_evals_own_model(model, tokenizer, prompts, backend, batch_size):
    requests = asked(prompts[:20]) + asked(prompts[20:], max_gen_toks=5)  # two tasks' settings
    expected = lm_evals_own(model, tokenizer).generate_until(requests, disable_tqdm=True)
    ours = scorer(model, tokenizer, backend=backend, batch_size=batch_size)
    assert ours.generate_until(requests, disable_tqdm=True) == expected
    assert len(set(expected)) > 10


def test_a_batch_ends_with_its_last_answer(model, tokenizer, prompts):
    """lm-eval's own goes on with a row that has met its stop string until every row has met it."""
    whole = lm_evals_own(model, tokenizer).generate_until(asked(prompts, max_gen_toks=60), disable_tqdm=True)
    length = {prompt: len(tokenizer(answer)["input_ids"]) for prompt, answer in zip(prompts, whole, strict=True)}
    stopped = [prompt for prompt, answer in zip(prompts, whole, strict=True) if "Left" in answer]
    ended = min((prompt for prompt in prompts if prompt not in stopped), key=length.__getitem__)
    requests = asked([max(stopped, key=length.__getitem__), ended], until=["Left"], max_gen_toks=60)
    theirs, waited = counted(model, lambda: lm_evals_own(model, tokenizer).generate_until(requests, disable_tqdm=True))
    lm = scorer(model, tokenizer, batch_size=10)
    ours, steps = counted(model, lambda: lm.generate_until(requests, disable_tqdm=True))
    assert ours == theirs
    assert steps < waited - 5
    longest = max(len(tokenizer(answer)["input_ids"]) for answer in ours)
    assert longest <= steps <= longest + 3, "the end, or what holds the stop string, is generated too"


def test_answers_end_where_a_model_does_not_say_what_ends_them(model, tokenizer, prompts, monkeypatch):
    expected = lm_evals_own(model, tokenizer).generate_until(asked(prompts[:6]), disable_tqdm=True)
    monkeypatch.setattr(model.generation_config, "eos_token_id", None)
    for backend in ("hf", "continuous"):
        lm = scorer(model, tokenizer, backend=backend, batch_size=6)
        assert lm.generate_until(asked(prompts[:6]), disable_tqdm=True) == expected


def test_drawn_answers_are_lm_evals_own(model, tokenizer, prompts):
    requests = asked(prompts[:4], do_sample=True, temperature=1.0)
    answers = []
    for lm in (lm_evals_own(model, tokenizer), scorer(model, tokenizer, backend="continuous", batch_size=10)):
        torch.manual_seed(0)
        answers.append(lm.generate_until(requests, disable_tqdm=True))
    assert answers[0] == answers[1]


def test_where_memory_does_not_hold_a_batch_half_of_it_is_tried(model, tokenizer, prompts, monkeypatch):
    generate, tried = type(model).generate, []

    def in_little_memory(self, input_ids, **settings):
        tried.append(len(input_ids))
        if len(input_ids) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(self, input_ids=input_ids, **settings)

    expected = lm_evals_own(model, tokenizer).generate_until(asked(prompts), disable_tqdm=True)
    monkeypatch.setattr(type(model), "generate", in_little_memory)
    lm = scorer(model, tokenizer, batch_size="auto")
    assert lm.generate_until(asked(prompts), disable_tqdm=True) == expected
    assert tried == [24, 12, 6, 6, 6, 6]
    assert lm.batch_size == 6


def test_a_batch_fits_the_memory_that_is_free_and_keeps_the_threads_busy(model, monkeypatch):
    config = model.config
    a_token = 4 * (2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim + 4 * 384)
    a_row = 100 * a_token + 12 * config.vocab_size
    for free in (0, 10 * a_row, 10**15):
        monkeypatch.setattr(os, "sysconf", lambda name, free=free: {"SC_PAGE_SIZE": 1}.get(name, free))
        most = scoring.A_THREAD * torch.get_num_threads()
        assert fitting(model, 100) == {0: 1, 10 * a_row: 7}.get(free, most)


def test_the_batch_size_that_was_found_is_kept_with_the_scores(model, tokenizer):
    run = compose("base", {"eval.limit": 6, "eval.valid": "none", "eval.batch_size": "auto"}, "nano")
    scores = Evaluation(run.eval, None).run(model, tokenizer, "test")
    assert scores is not None
    assert scores.at_once == 6


def test_vllm_is_asked_for_in_one_line_where_it_is_not(tmp_path):
    done = bench("run", "lora", "eval.backend=vllm", cwd=tmp_path, expect=2)
    lines = [line for line in done.stderr.splitlines() if line != "load ..."]
    assert len(lines) == 1
    assert lines[0].startswith("error: eval.backend=vllm needs")
    assert not list(tmp_path.rglob("*.ndjson"))
