"""Claims about how many questions are answered at once: too many are divided evenly, and what was done is said."""

import json
from types import SimpleNamespace

import pytest
import torch
from command import bench
from small_runs import make, small, store_in

from antipasto_bench.core.errors import UserError
from antipasto_bench.run import generate
from antipasto_bench.run.answer_log import AnswerLog
from antipasto_bench.run.batch_size import next_smaller_batch, sizes_text
from antipasto_bench.run.data import read_questions
from antipasto_bench.run.evaluate import SplitScores
from antipasto_bench.run.examples import PROMPT
from antipasto_bench.run.generate import Scorer
from antipasto_bench.run.noise import measure_noise
from antipasto_bench.run.open_rows import OpenRows
from antipasto_bench.run.progress import Progress
from antipasto_bench.run.score import batch_size_text
from antipasto_bench.spec.compose import compose, load_preset, preset_names
from antipasto_bench.store.table import find


@pytest.fixture
def little_memory(model, monkeypatch):
    """Room for so many rows; and how many each batch was to have."""
    tried, room = [], [6]

    class InLittleMemory(OpenRows):
        def __init__(self, model, width, *arguments):
            super().__init__(model, width, *arguments)
            tried.append(width)

        def _next(self, ids, *arguments):
            if len(ids) > room[0]:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super()._next(ids, *arguments)

    monkeypatch.setattr(generate, "OpenRows", InLittleMemory)
    return SimpleNamespace(tried=tried, room=room)


def test_a_smaller_batch_is_the_largest_that_divides_the_one_before():
    sizes = [100]
    while sizes[-1] > 1:
        sizes.append(next_smaller_batch(sizes[-1]))
    assert sizes == [100, 50, 25, 5, 1]
    assert next_smaller_batch(48) == 24
    assert next_smaller_batch(7) == 1


def test_memory_that_does_not_hold_a_batch_divides_it_evenly(model, tokenizer, little_memory):
    questions = read_questions("benchmark/data/nano/valid.jsonl", "test")["question"]
    settings = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 4}
    requests = [SimpleNamespace(args=(PROMPT.format(query=text), settings)) for text in questions[:15]]
    lm = Scorer(model, tokenizer, compose("base", {"eval.batch_size": 15}, "nano").eval)
    lm.generate_until(requests, disable_tqdm=True)
    assert little_memory.tried == [15, 5], "not seven"
    assert lm.batch_size == 5


@pytest.mark.slow
def test_the_size_in_the_end_is_recorded_and_both_splits_have_it(tmp_path, little_memory):
    run = small("base", **{"eval.limit": 30, "eval.valid_limit": 10})
    record = make(run, store_in(tmp_path)).record  # 8 at once, of 30 and 10 questions
    assert record.provenance.eval_batch_size == 4
    assert little_memory.tried == [8, 4, 4], "validation begins with what test came to"


def test_splits_of_different_sizes_are_both_named():
    def of_size(size):
        return SplitScores({}, [], [], {}, 0.0, size)

    assert batch_size_text(of_size(8), None) == 8
    assert batch_size_text(of_size(8), of_size(8)) == 8
    assert batch_size_text(of_size(8), of_size(4)) == "8 (valid: 4)"


def test_sizes_of_processes_that_differ_are_all_named():
    assert sizes_text([10]) == sizes_text([10, 10]) == 10
    assert sizes_text([10, 5, 10, 2]) == "10 (process 1: 5, process 3: 2)"


def test_loglikelihoods_that_memory_does_not_hold_change_no_batch_of_answers(model, tokenizer, tmp_path, monkeypatch):
    """Neither the log of finished answers nor the size that is recorded."""
    questions = read_questions("benchmark/data/nano/valid.jsonl", "test")["question"]
    settings = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 4}
    requests = [SimpleNamespace(args=(PROMPT.format(query=text), settings)) for text in questions[:8]]
    lm = Scorer(model, tokenizer, compose("base", {"eval.batch_size": 8}, "nano").eval)
    AnswerLog(tmp_path / "a.jsonl", "a").attach_to(lm)
    lm.generate_until(requests, disable_tqdm=True)
    before, call, scored = (tmp_path / "a.jsonl").read_text(), lm._model_call, []

    def in_little_memory(inputs, **more):
        if len(inputs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        scored.append(len(inputs))
        return call(inputs, **more)

    monkeypatch.setattr(lm, "_model_call", in_little_memory)
    texts = [SimpleNamespace(args=(f"a{number}", f" b{number}")) for number in range(8)]
    assert len(lm.loglikelihood(texts, disable_tqdm=True)) == 8
    assert scored == [2, 2, 2, 2]
    assert lm.likelihood_batch_size == 2
    rolling = [SimpleNamespace(args=(text,)) for text in questions[:3]]
    assert len(lm.loglikelihood_rolling(rolling, disable_tqdm=True)) == 3
    assert scored[4:] == [2, 1], "it goes on with what memory held"
    assert (tmp_path / "a.jsonl").read_text() == before
    assert lm.batch_size == 8


def test_answers_of_larger_batches_are_given_again_and_a_resume_begins_with_the_smaller(
    model, tokenizer, little_memory, tmp_path
):
    questions = read_questions("benchmark/data/nano/valid.jsonl", "test")["question"]
    settings = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 6}
    requests = [SimpleNamespace(args=(PROMPT.format(query=text), settings)) for text in questions[:16]]
    config = compose("base", {"eval.batch_size": 8}, "nano").eval
    little_memory.room[0] = 8
    lm = Scorer(model, tokenizer, config)
    AnswerLog(tmp_path / "a.jsonl", "a").attach_to(lm)
    lm.generate_until(requests[:8], disable_tqdm=True)
    little_memory.room[0] = 4  # another process takes the memory
    lm.generate_until(requests, disable_tqdm=True)
    assert little_memory.tried == [8, 8, 4, 4]
    lines = [json.loads(line.partition("\t")[0]) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert {"batch_size": 4} in lines
    again, log = Scorer(model, tokenizer, config), AnswerLog(tmp_path / "a.jsonl", "a")
    assert log.batch_size == 4
    log.attach_to(again)
    again.generate_until(requests, disable_tqdm=True)
    assert again.batch_size == 4
    assert little_memory.tried == [8, 8, 4, 4], "nothing is generated again"


def test_a_resume_takes_the_batch_that_memory_gave_the_first_try(model, tokenizer, tmp_path, monkeypatch):
    """With `auto`: answers of one run come from batches of one size, and that size is recorded."""
    questions = read_questions("benchmark/data/nano/valid.jsonl", "test")["question"]
    settings = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 4}
    requests = [SimpleNamespace(args=(PROMPT.format(query=text), settings)) for text in questions[:12]]
    config = compose("base", {"eval.batch_size": "auto"}, "nano").eval
    sizes = []
    for fits, asked in ((4, requests[:8]), (9, requests), (9, requests)):
        monkeypatch.setattr("antipasto_bench.run.generate.rows_that_fit", lambda *given, fits=fits: fits)
        lm = Scorer(model, tokenizer, config)
        AnswerLog(tmp_path / "a.jsonl", "a").attach_to(lm)
        lm.generate_until(asked, disable_tqdm=True)
        sizes.append(lm.batch_size)
    assert sizes == [4, 4, 4]


def test_no_preset_leaves_the_batch_to_free_memory():
    for name in preset_names():
        assert isinstance(load_preset(name)["eval"]["batch_size"], int), name


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("variant", ["base", "lora"])
def test_noise_counts_the_answers_that_change_with_the_batch(tmp_path, variant):
    """A bfloat16 model is scored as its record says."""
    run, store = small(variant, dtype="bfloat16", **{"eval.limit": 12, "eval.valid": "none"}), store_in(tmp_path)
    record = make(run, store).record
    scored = measure_noise(run.run_id, store, (8, 3), None, Progress(quiet=True))
    assert scored.questions == 12
    assert scored.merged is record.scored_merged
    assert scored.accuracy[0] == find(store.table, run.run_id).test_accuracy, "8 at once, as it was scored"
    assert 0 <= scored.verdicts_changed <= 12
    assert measure_noise(run.run_id, store, (2, 1), 3, Progress(quiet=True)).questions == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "limit", "said"),
    [
        ((8, 48), 8, "both answer 8 questions 8 at once, which compares nothing; write --batch-sizes 4,8"),
        ((13, 48), None, "both answer 12 questions 12 at once, which compares nothing; write --batch-sizes 6,12"),
        ((4, 4), None, "both answer 12 questions 4 at once, which compares nothing; write --batch-sizes 2,4"),
        ((1, 1), None, "both answer 12 questions 1 at once, which compares nothing; write --batch-sizes 1,2"),
        ((8, 48), 1, "one question has no other batch to compare; write a --limit of 2 or more"),
    ],
)
def test_noise_refuses_two_sizes_that_make_the_same_batches(twelve_answered, sizes, limit, said):
    run_id, store = twelve_answered
    with pytest.raises(UserError) as refusal:
        measure_noise(run_id, store, sizes, limit, Progress(quiet=True))
    assert str(refusal.value) == f"--batch-sizes={sizes[0]},{sizes[1]}: {said}"


@pytest.fixture(scope="module")
def twelve_answered(tmp_path_factory):
    run, store = small("base", **{"eval.limit": 12, "eval.valid": "none"}), store_in(tmp_path_factory.mktemp("noise"))
    make(run, store)
    return run.run_id, store


@pytest.mark.slow
def test_noise_refuses_a_run_whose_adapter_is_elsewhere(tmp_path):
    run, store = small("lora", **{"eval.limit": 4, "eval.valid": "none"}), store_in(tmp_path)
    make(run, store)
    store.run_folder(run.run_id).adapter.unlink()
    with pytest.raises(UserError, match="is not on this machine"):
        measure_noise(run.run_id, store, (4, 2), None, Progress(quiet=True))


@pytest.mark.long
@pytest.mark.slow
def test_the_command_noise_prints_a_card_and_one_line_of_json(tmp_path):
    run = ["run", "base", "eval.limit=6", "eval.valid=none", "costs=false", "--json"]
    run_id = json.loads(bench(*run, cwd=tmp_path).stdout.splitlines()[-1])["run_id"]
    done = bench("noise", run_id, "--batch-sizes", "6,2", "--json", cwd=tmp_path)
    printed = json.loads(done.stdout.splitlines()[-1])
    assert len(done.stdout.splitlines()) == 1
    assert printed["batch_sizes"] == [6, 2]
    assert printed["questions"] == 6
    assert printed["answers_changed"] == 0, "float32"
    assert "answers that differ   0" in done.stderr
    few = bench("noise", run_id, "--batch-sizes", "1,2", "--limit", "2", cwd=tmp_path).stdout
    assert "answers that differ   0" in few
    said = bench("noise", run_id, "--limit", "2", cwd=tmp_path, expect=2).stderr
    assert said.count("\n") == 1
    assert said.rstrip().endswith("write --batch-sizes 1,2")
    said = bench("noise", run_id, "--batch-sizes", "6", cwd=tmp_path, expect=2).stderr
    assert said.count("\n") == 1
    assert "expected two numbers" in said
    assert "no run" in bench("noise", "nothing", cwd=tmp_path, expect=2).stderr
