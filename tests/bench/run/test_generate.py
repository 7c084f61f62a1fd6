"""Claims about how answers are generated: however it is done, they are those of lm-eval's own model."""

import sys
from types import SimpleNamespace

import pytest
import torch
from command import bench
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import env
from transformers import AutoModelForCausalLM, AutoTokenizer

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run import backends, batch_size, generate, vllm_scoring
from antipasto_bench.run.answer_log import AnswerLog
from antipasto_bench.run.backends import check_backend
from antipasto_bench.run.batch_size import rows_that_fit
from antipasto_bench.run.data import read_questions
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.examples import PROMPT
from antipasto_bench.run.generate import Scorer
from antipasto_bench.spec.compose import compose

SETTINGS = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 40}


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


def test_the_longest_answer_can_be_given_whatever_the_task_says(model, tokenizer):
    answers = {}
    for longest in (None, 6):
        given = {"eval.max_new_tokens": longest, "eval.limit": 6, "eval.valid_limit": 3}
        run = compose("base", given, "nano")
        evaluation = Evaluation(run.eval, read_questions(run.eval.valid, "test")[:3])
        scores = [evaluation.run(model, tokenizer, split) for split in ("test", "valid")]
        answers[longest] = [sample["response"] for split in scores for sample in split.samples]
    for whole, cut in zip(answers[None], answers[6], strict=True):
        assert whole.startswith(cut)
        assert len(tokenizer(cut)["input_ids"]) <= 6 < len(tokenizer(whole)["input_ids"])


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


@pytest.mark.parametrize("known", [None, 5, [7, 5]])
def test_answers_end_with_the_token_they_were_trained_to_end_with(model, tokenizer, prompts, monkeypatch, known):
    """Whatever the model's own settings say: without them lm-eval's own would read on behind the end."""
    expected = lm_evals_own(model, tokenizer).generate_until(asked(prompts[:6]), disable_tqdm=True)
    monkeypatch.setattr(model.generation_config, "eos_token_id", known)
    assert not {5, 7} & {token for answer in expected for token in tokenizer(answer)["input_ids"]}
    for backend in ("hf", "continuous"):
        lm = scorer(model, tokenizer, backend=backend, batch_size=6)
        assert lm.generate_until(asked(prompts[:6]), disable_tqdm=True) == expected


def test_a_stop_string_that_begins_in_the_question_stops_nothing(model, tokenizer, prompts):
    whole = lm_evals_own(model, tokenizer).generate_until(asked(prompts[:1]), disable_tqdm=True)
    across = f"{prompts[0][-1]}{whole[0][:3]}"
    assert across in prompts[0] + whole[0]
    lm = scorer(model, tokenizer, batch_size=6)
    assert lm.generate_until(asked(prompts[:1], until=[across]), disable_tqdm=True) == whole


def test_a_models_own_limit_is_not_the_tasks(model, tokenizer, prompts, monkeypatch):
    monkeypatch.setattr(model.generation_config, "max_new_tokens", 64)
    for backend in ("hf", "continuous"):
        lm = scorer(model, tokenizer, backend=backend, batch_size=6)
        (answer,) = lm.generate_until(asked(prompts[:1], max_gen_toks=4), disable_tqdm=True)
        assert 0 < len(tokenizer(answer)["input_ids"]) <= 4


def test_drawn_answers_are_lm_evals_own(model, tokenizer, prompts):
    requests = asked(prompts[:4], do_sample=True, temperature=1.0)
    answers = []
    for lm in (lm_evals_own(model, tokenizer), scorer(model, tokenizer, backend="continuous", batch_size=10)):
        torch.manual_seed(0)
        answers.append(lm.generate_until(requests, disable_tqdm=True))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("own", [{"repetition_penalty": 3.0}, {"num_beams": 2}, {"no_repeat_ngram_size": 2}])
def test_continuous_batching_leaves_a_tasks_own_settings_to_hf(model, tokenizer, prompts, own):
    """It knows of no penalty and no beam. The questions beside are answered as ever."""
    requests = asked(prompts[:4], **own) + asked(prompts[4:8])
    requests = [requests[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)]
    expected = lm_evals_own(model, tokenizer).generate_until(requests, disable_tqdm=True)
    plain = lm_evals_own(model, tokenizer).generate_until(asked(prompts[:4]), disable_tqdm=True)
    assert expected[::2] != plain, "the settings matter"
    for backend in ("hf", "continuous"):
        lm = scorer(model, tokenizer, backend=backend, batch_size=4)
        assert lm.generate_until(requests, disable_tqdm=True) == expected


def test_continuous_batching_answers_what_is_plainly_greedy(model, tokenizer, prompts, monkeypatch):
    lm, continuously = scorer(model, tokenizer, backend="continuous", batch_size=4), []
    monkeypatch.setattr(
        generate,
        "streamed_answers",
        lambda lm, requests, stream: continuously.extend(requests) or ["x"] * len(requests),
    )
    requests = [
        *asked(prompts[:2], do_sample=True, temperature=1.0),
        *asked(prompts[2:5]),
        *asked(prompts[5:6], temperature=0.0),
    ]
    assert lm.generate_until(requests, disable_tqdm=True)[2:] == ["x"] * 4
    assert continuously == requests[2:]


def test_a_task_that_asks_for_beams_gets_them(model, tokenizer, prompts, tmp_path):
    """Its own settings are part of the task; beams change places from step to step, and are not noted."""
    requests = asked(prompts[:6], num_beams=3)
    expected = lm_evals_own(model, tokenizer).generate_until(requests, disable_tqdm=True)
    lm = scorer(model, tokenizer, batch_size=6)
    AnswerLog(tmp_path / "a.jsonl", "adapter").attach_to(lm)
    assert lm.generate_until(requests, disable_tqdm=True) == expected
    assert expected != lm_evals_own(model, tokenizer).generate_until(asked(prompts[:6]), disable_tqdm=True)


def test_where_memory_does_not_hold_a_batch_half_of_it_is_tried(model, tokenizer, prompts, monkeypatch):
    forward, tried = type(model).forward, []

    def in_little_memory(self, input_ids, **settings):
        if len(input_ids) not in tried and input_ids.shape[1] > 1:
            tried.append(len(input_ids))
        if len(input_ids) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **settings)

    expected = lm_evals_own(model, tokenizer).generate_until(asked(prompts), disable_tqdm=True)
    monkeypatch.setattr(generate, "rows_can_leave", lambda model: True)
    monkeypatch.setattr(type(model), "forward", in_little_memory)
    lm = scorer(model, tokenizer, batch_size="auto")
    assert lm.generate_until(asked(prompts), disable_tqdm=True) == expected
    assert tried[:3] == [24, 12, 6]
    assert lm.batch_size == 6


@pytest.mark.parametrize("batch_size", [3, "auto"])
def test_likelihoods_are_those_of_lm_evals_own_model(model, tokenizer, prompts, batch_size):
    """Of tasks that choose between answers, and generate none."""
    requests = [SimpleNamespace(args=(prompt, f" {number}")) for prompt in prompts[:6] for number in (1, 20)]
    expected = lm_evals_own(model, tokenizer).loglikelihood(requests, disable_tqdm=True)
    lm = scorer(model, tokenizer, batch_size=batch_size)
    found = lm.loglikelihood(requests, disable_tqdm=True)
    assert lm.likelihood_batch_size == (12 if batch_size == "auto" else 3)
    for (ours, top), (theirs, theirs_top) in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
        assert top == theirs_top


def test_a_batch_fits_the_memory_that_is_free_and_keeps_the_threads_busy(model, monkeypatch):
    def holds(gigabytes, width=100, **more):
        monkeypatch.setattr(batch_size, "free_memory", lambda: gigabytes * 2**30)
        return rows_that_fit(model, width, **more)

    monkeypatch.setattr(batch_size, "cores", torch.get_num_threads)
    most = batch_size.ROWS_A_THREAD * torch.get_num_threads()
    assert holds(0) == 1
    assert holds(10**6) == most
    little = holds(0.05)
    assert 1 < little < most
    assert holds(0.05, width=200) == pytest.approx(little / 2, abs=1)
    assert holds(0.05, scored=100) < 0.6 * little, "logits of all tokens"
    # What a generation of that size really keeps: keys and values of every token.
    cache = 4 * 2 * 4 * 2 * 32 * 100 * little
    assert cache < 0.05 * 2**30
    monkeypatch.setattr(batch_size, "cores", lambda: 4 * torch.get_num_threads())
    assert holds(0.05) == pytest.approx(little / 4, abs=1), "one of four workers"


def test_a_task_s_templates_are_compiled_once_and_not_for_every_question(model, tokenizer, monkeypatch):
    run = compose("base", {"eval.limit": 6, "eval.valid": "none"}, "nano")
    evaluation = Evaluation(run.eval, None)
    compiled, compile_one = [], env.compile
    monkeypatch.setattr(env, "compile", lambda text, *more, **how: compiled.append(text) or compile_one(text, *more))
    evaluation.run(model, tokenizer, "test")
    assert 0 < len(compiled) == len(set(compiled)) < 6


def test_the_batch_size_that_was_found_is_kept_with_the_scores(model, tokenizer):
    run = compose("base", {"eval.limit": 6, "eval.valid": "none", "eval.batch_size": "auto"}, "nano")
    scores = Evaluation(run.eval, None).run(model, tokenizer, "test")
    assert scores is not None
    assert scores.batch_size == 6


def test_vllm_is_asked_for_in_one_line_where_it_is_not(tmp_path):
    done = bench("run", "lora", "eval.backend=vllm", cwd=tmp_path, expect=2)
    lines = [line for line in done.stderr.splitlines() if line != "load ..."]
    assert len(lines) == 1
    assert lines[0].startswith("error: eval.backend=vllm needs")
    assert not list(tmp_path.rglob("*.ndjson"))


@pytest.mark.parametrize(
    ("variant", "given", "gpu", "processes", "said"),
    [
        ("lora", {}, False, 1, "needs a GPU"),
        ("lora", {"quant": "4bit"}, True, 1, "not quant=4bit"),
        ("sspace", {}, True, 1, "sspace has none"),
        ("lora", {}, True, 2, "without torchrun"),
        ("lora", {}, True, 1, None),
        ("base", {}, True, 1, None),
    ],
)
def test_what_vllm_cannot_score_is_refused_before_anything_is_loaded(monkeypatch, variant, given, gpu, processes, said):
    monkeypatch.setattr(backends, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    run = compose(variant, given | {"eval.backend": "vllm"}, "nano")
    if said is None:
        check_backend(run, processes)
    else:
        with pytest.raises(UserError, match=said):
            check_backend(run, processes)


def test_vllm_is_given_the_merged_model_as_a_plain_folder(tokenizer, prompts, monkeypatch):
    """vLLM itself needs a GPU; what stands in for it here loads that folder and computes with it."""
    adapted = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32).eval()
    antipasto.attach(adapted, antipasto.LoRAConfig(r=4, target_names=(".*_proj",)))
    for tensor in antipasto.trainable_parameters(adapted).values():
        torch.nn.init.normal_(tensor, std=0.05)
    ids = tokenizer(prompts[0], return_tensors="pt")
    hooked = adapted(**ids).logits
    antipasto.merge(adapted)
    found = {}

    def stand_in(folder, dtype, **settings):
        found["settings"] = settings | {"dtype": dtype}
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        found["logits"] = plain(**AutoTokenizer.from_pretrained(folder)(prompts[0], return_tensors="pt")).logits
        return SimpleNamespace()

    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", SimpleNamespace(VLLM=stand_in))
    monkeypatch.setattr(vllm_scoring, "free_on_gpu", lambda device: 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=2**31))
    run = compose("lora", {"eval.backend": "vllm"}, "nano")
    with generate.scorer(adapted, tokenizer, run.eval):
        pass
    torch.testing.assert_close(found["logits"], hooked, rtol=1e-4, atol=1e-4)
    assert found["settings"] == {
        "dtype": "float32", "batch_size": "auto", "max_model_len": 2048, "gpu_memory_utilization": 0.45,
        "generation_config": "vllm", "trust_remote_code": False,
    }  # fmt: skip
