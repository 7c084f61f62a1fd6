"""Claims about tokenizers as they are: training and every way of scoring read a prompt as the same ids."""

import math
import shutil
import sys
from copy import deepcopy
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager

from antipasto_bench.core.errors import UserError
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run import generate, vllm_scoring
from antipasto_bench.run.examples import PROMPT, collate, encode
from antipasto_bench.run.forgetting import mean_token_loss
from antipasto_bench.run.generate import Scorer
from antipasto_bench.run.models import load_tokenizer
from antipasto_bench.run.open_rows import OpenRows
from antipasto_bench.run.tokens import completion_ids, first_ids, prompt_ids, text_ids
from antipasto_bench.spec.compose import compose

END = "<|end|>"
BEGIN = "<|begin|>"
TEMPLATES = {"begins": f"{BEGIN} $A", "closes": f"$A {END}", "begins and closes": f"{BEGIN} $A {END}"}
QUESTION = "Tom has 12 apples and eats 5. How many are left?"
ROW = {"query": QUESTION, "response": "12-5=7.\n#### 7\nThe answer is: 7"}
QUOTING = {"query": f"What does {END} mean in {END}?", "response": f"It is {END}.\nThe answer is: 1"}
SETTINGS = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 4}
BACKENDS = ("hf", "static", "continuous")


def changed_tokenizer(folder, template):
    """The embedded model's tokenizer with another post-processor, saved and loaded as any model's."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    if BEGIN in template:
        tokenizer.add_special_tokens({"bos_token": BEGIN})
    specials = [(name, tokenizer.convert_tokens_to_ids(name)) for name in (BEGIN, END) if name in template]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=specials)
    shutil.copytree(MODEL_DIR, folder, dirs_exist_ok=True)
    tokenizer.save_pretrained(folder)
    return load_tokenizer(compose("lora", {"model": str(folder)}, "nano"))


@pytest.fixture(params=TEMPLATES)
def changed(request, tmp_path):
    tokenizer = changed_tokenizer(tmp_path, TEMPLATES[request.param])
    bare = tokenizer(QUESTION, add_special_tokens=False)["input_ids"]
    assert tokenizer(QUESTION)["input_ids"] != bare, "it is changed"
    return tokenizer


def scorer(model, tokenizer, backend="hf"):
    return Scorer(model, tokenizer, compose("base", {"eval.backend": backend, "eval.batch_size": 4}, "nano").eval)


def read_by_model(model, tokenizer, backend, prompts, monkeypatch):
    """The ids of each prompt as the model is given them, without padding, in an order of their own."""
    given = []
    model_type = type(model)
    generate, add_requests = model_type.generate, ContinuousBatchingManager.add_requests
    join = OpenRows._join

    def spy(self, input_ids, **settings):
        mask = settings["attention_mask"]
        given.extend(row[keep.bool()].tolist() for row, keep in zip(input_ids, mask, strict=True))
        return generate(self, input_ids=input_ids, **settings)

    def spy_on_requests(self, inputs, **settings):
        given.extend(map(list, inputs))
        return add_requests(self, inputs, **settings)

    def spy_on_rows(self, rows):
        given.extend(row.prompt for row in rows)
        return join(self, rows)

    with monkeypatch.context() as patched:
        patched.setattr(model_type, "generate", spy)
        patched.setattr(OpenRows, "_join", spy_on_rows)
        patched.setattr(ContinuousBatchingManager, "add_requests", spy_on_requests)
        requests = [SimpleNamespace(args=(prompt, SETTINGS)) for prompt in prompts]
        scorer(model, tokenizer, backend).generate_until(requests, disable_tqdm=True)
    return sorted(given)


@pytest.fixture
def wide_model(model):
    """The embedded model with rows for a few more tokens."""
    wide = deepcopy(model)
    wide.resize_token_embeddings(model.config.vocab_size + 2, mean_resizing=False)
    return wide


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_prompt_is_the_same_ids_in_training_and_in_every_backend(wide_model, changed, backend, monkeypatch):
    rows = pl.DataFrame([ROW, QUOTING])
    trained = sorted(e.ids[: e.prompt_length] for e in encode(changed, rows))
    prompts = [PROMPT.format(query=query) for query in rows["query"]]
    assert read_by_model(wide_model, changed, backend, prompts, monkeypatch) == trained
    lm = scorer(wide_model, changed, backend)
    assert sorted(lm.tok_encode(prompt) for prompt in prompts) == trained


def test_no_end_token_stands_between_question_and_answer(changed):
    end = changed.eos_token_id
    for example in encode(changed, pl.DataFrame([ROW, QUOTING])):
        assert end not in example.ids[:-1]
        assert example.ids[-1] == end
    begins = changed.bos_token_id is not None
    assert first_ids(changed) == ([changed.bos_token_id] if begins else [])


def test_the_embedded_tokenizer_reads_its_data_set_as_it_always_did(tokenizer):
    rows = pl.read_parquet("benchmark/data/nano/train.parquet")
    prompts = tokenizer([PROMPT.format(query=query) for query in rows["query"]])["input_ids"]
    responses = tokenizer([f" {text}" for text in rows["response"]], add_special_tokens=False)["input_ids"]
    expected = [[*p, *r, tokenizer.eos_token_id] for p, r in zip(prompts, responses, strict=True)]
    assert [e.ids for e in encode(tokenizer, rows)] == expected


def test_a_padded_batch_of_prompts_is_that_of_lm_evals_own_model(model, tokenizer):
    prompts = [PROMPT.format(query=QUESTION), "1+1=", PROMPT.format(query="How many?")]
    theirs, ours = HFLM(pretrained=model, tokenizer=tokenizer), scorer(model, tokenizer)
    for settings in ({}, {"left_truncate_len": 9}, {"padding_side": "right"}):
        for a, b in zip(
            ours.tok_batch_encode(prompts, **settings), theirs.tok_batch_encode(prompts, **settings), strict=True
        ):
            assert torch.equal(a, b), settings


def test_the_name_of_the_end_token_in_a_row_is_text(tokenizer):
    (example,) = encode(tokenizer, pl.DataFrame([QUOTING]))
    assert example.ids.count(tokenizer.eos_token_id) == 1, "the last"
    assert tokenizer.decode(example.ids[:-1]) == f"{PROMPT.format(query=QUOTING['query'])} {QUOTING['response']}"
    assert completion_ids(tokenizer, ["a", END])[1][:-1] == text_ids(tokenizer, [END])[0]
    batch = collate([example], tokenizer.pad_token_id)
    assert batch["attention_mask"].all()


def test_an_answer_that_quotes_the_end_token_is_not_cut_there(model, tokenizer, monkeypatch):
    (written,) = text_ids(tokenizer, [f" It is {END}. The answer is: 1"])

    tokens = iter([*written, tokenizer.eos_token_id])
    monkeypatch.setattr(OpenRows, "_next", lambda self, ids, *given: torch.tensor([next(tokens)] * len(ids)))
    (text,) = scorer(model, tokenizer).generate_until(
        [SimpleNamespace(args=("1+1=", SETTINGS | {"max_gen_toks": 64}))], disable_tqdm=True
    )
    assert text == f" It is {END}. The answer is: 1"


def test_likelihoods_and_general_loss_read_no_special_token_from_text(wide_model, changed):
    lm = scorer(wide_model, changed)
    context, continuation = lm._encode_pair(f"{END} is", " a token")
    assert context + continuation == prompt_ids(changed, [f"{END} is a token"])[0]
    assert changed.eos_token_id not in context + continuation
    loss, tokens = mean_token_loss(wide_model, changed, [QUESTION, f"What is {END} for?"], 64)
    assert math.isfinite(loss)
    assert tokens == sum(len(ids) - 1 for ids in prompt_ids(changed, [QUESTION, f"What is {END} for?"]))


def test_vllm_is_given_the_ids_that_were_trained_on(wide_model, changed, monkeypatch):
    """vLLM itself needs a GPU; lm-eval's model for it passes on the ids of its `tok_encode`."""
    monkeypatch.setitem(
        sys.modules, "lm_eval.models.vllm_causallms", SimpleNamespace(VLLM=lambda *a, **k: SimpleNamespace())
    )
    monkeypatch.setattr(vllm_scoring, "free_on_gpu", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=2**31))
    prompts = [PROMPT.format(query=row["query"]) for row in (ROW, QUOTING)]
    with generate.scorer(wide_model, changed, compose("lora", {"eval.backend": "vllm"}, "nano").eval) as lm:
        assert lm.tok_encode(tuple(prompts)) == prompt_ids(changed, prompts)
        assert lm.tok_encode(prompts[0]) == prompt_ids(changed, prompts[:1])[0]
        assert lm.tok_encode(" a", add_special_tokens=False) == text_ids(changed, [" a"])[0]


def test_a_tokenizer_whose_special_tokens_change_the_text_is_refused(tokenizer):
    def odd(text, **settings):
        return {"input_ids": [[5, 6]] if settings else [9, 5, 7]}

    with pytest.raises(UserError, match="expected the same tokens with others before or after them"):
        first_ids(odd)


def test_half_a_surrogate_pair_and_nul_are_tokens_like_other_characters(tokenizer):
    """Such text cannot come from a data file; a task in code of its own can have it."""
    texts = ["a \ud83d b", "\ude00\ud83d", "a \U0001f600", "a\x00b", "\u2028\r"]
    whole = ["a \ufffd b", "\ufffd\ufffd", *texts[2:]]
    assert text_ids(tokenizer, texts) == text_ids(tokenizer, whole)
    assert text_ids(tokenizer, ["\ud83d\ude00"]) == text_ids(tokenizer, ["\U0001f600"]), "a whole pair is a character"
    assert len(set(map(tuple, text_ids(tokenizer, whole)))) == 5
