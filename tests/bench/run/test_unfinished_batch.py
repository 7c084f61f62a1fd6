"""Claims about a batch that is stopped or killed in its middle: it goes on from where it was, to the same answers."""

import itertools
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from small_runs import make, small, store_in

from antipasto_bench.core.signals import Interrupted, handle_signals
from antipasto_bench.run import answer_log, batch_in_hand, generate
from antipasto_bench.run.answer_log import AnswerLog
from antipasto_bench.run.batch_in_hand import BatchInHand
from antipasto_bench.run.data import read_questions
from antipasto_bench.run.examples import PROMPT
from antipasto_bench.run.generate import Scorer
from antipasto_bench.run.open_rows import OpenRows
from antipasto_bench.spec.compose import compose

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """What nothing in the process can react to."""


@pytest.fixture(scope="module")
def requests():
    questions = read_questions("benchmark/data/nano/valid.jsonl", "test")["question"]
    settings = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 48}
    return [SimpleNamespace(args=(PROMPT.format(query=text), settings)) for text in questions[:18]]


def logged_scorer(model, tokenizer, path, backend="hf"):
    run = compose("base", {"eval.batch_size": 9, "eval.backend": backend}, "nano")
    lm, log = Scorer(model, tokenizer, run.eval), AnswerLog(path, "adapter")
    log.attach_to(lm)
    return lm, log


def forwards(model, work, until=10**9, end=None):
    """How often the model was called by `work`; `end` is called at the pass `until`."""
    widths, error = passes(model, work, until, end)
    return len(widths), error


def passes(model, work, until=10**9, end=None):
    """How many tokens of a row each pass of the model reads, and what ended `work`; see `forwards`."""
    widths = []

    def count(module, args, given):
        widths.append(given["input_ids"].shape[1])
        if len(widths) == until:
            end()

    handle = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        work()
    except BaseException as error:
        return widths, error
    finally:
        handle.remove()
    return widths, None


def kill():
    raise Killed


def stop():
    raise Interrupted(signal.SIGTERM)


@pytest.mark.parametrize("backend", ["hf", "static"])
@pytest.mark.parametrize(("end", "note_s"), [(kill, 0.0), (stop, 30.0)])
@pytest.mark.parametrize("until", [7, 30, 60])
def test_it_goes_on_from_its_tokens_to_the_answers_of_one_that_was_not_stopped(
    model, tokenizer, requests, tmp_path, monkeypatch, backend, end, note_s, until
):
    whole, _ = logged_scorer(model, tokenizer, tmp_path / "whole.jsonl", backend)
    expected = []
    steps, _ = passes(model, lambda: expected.extend(whole.generate_until(requests, disable_tqdm=True)))
    for noting in (batch_in_hand, answer_log):
        monkeypatch.setattr(noting, "NOTE_S", note_s)
    broken, _ = logged_scorer(model, tokenizer, tmp_path / "a.jsonl", backend)
    done, error = passes(model, lambda: broken.generate_until(requests, disable_tqdm=True), until, end)
    assert isinstance(error, Killed | Interrupted)
    again, log = logged_scorer(model, tokenizer, tmp_path / "a.jsonl", backend)
    under_way = log.open if backend == "hf" else dict(enumerate(log.unfinished.tokens))
    assert len(under_way) > 1
    assert all(0 < len(tokens) < 48 for tokens in under_way.values())
    answers = []
    left, _ = passes(model, lambda: answers.extend(again.generate_until(requests, disable_tqdm=True)))
    assert answers == expected
    assert len(set(expected)) > 10
    # A pass of several columns reads prompts, with the tokens that a row has: as many as there are lengths.
    assert (done + left).count(1) <= steps.count(1) + 2, "no step is computed twice but the one that was broken off"


def test_half_a_minute_of_a_batch_is_lost_at_most(model, tokenizer, requests, tmp_path, monkeypatch):
    clock, notes = [0.0], []
    monkeypatch.setattr(batch_in_hand.time, "monotonic", lambda: clock[0])
    lm, log = logged_scorer(model, tokenizer, tmp_path / "a.jsonl")
    monkeypatch.setattr(log, "_append", lambda line: notes.append((clock[0], line)) if "open" in line else None)

    def tick(module, args):
        clock[0] += 10.0

    handle = model.register_forward_pre_hook(tick)
    try:
        lm.generate_until(requests[:9], disable_tqdm=True)
    finally:
        handle.remove()
    times = [time for time, _ in notes]
    assert len(times) > 10
    assert all(later - earlier <= 40 for earlier, later in itertools.pairwise(times))
    for (_, earlier), (_, later) in itertools.pairwise(notes):
        assert all(len(later["open"].get(key, "x" * 99)) > len(tokens) for key, tokens in earlier["open"].items())


def test_a_batch_of_other_rows_or_settings_is_not_gone_on_with(model, tokenizer, requests, tmp_path):
    broken, _ = logged_scorer(model, tokenizer, tmp_path / "a.jsonl")
    _, error = forwards(model, lambda: broken.generate_until(requests, disable_tqdm=True), 7, stop)
    assert isinstance(error, Interrupted)
    expected, _ = logged_scorer(model, tokenizer, tmp_path / "whole.jsonl")
    again, log = logged_scorer(model, tokenizer, tmp_path / "a.jsonl")
    assert len(log.open) == 9
    fewer = requests[:4]
    assert again.generate_until(fewer, disable_tqdm=True) == expected.generate_until(fewer, disable_tqdm=True)


def test_a_signal_ends_a_batch_within_its_step(model, tokenizer, requests, tmp_path):
    lm, _ = logged_scorer(model, tokenizer, tmp_path / "a.jsonl")
    with handle_signals():
        steps, error = forwards(
            model,
            lambda: lm.generate_until(requests, disable_tqdm=True),
            10,
            lambda: os.kill(os.getpid(), signal.SIGTERM),
        )
    assert isinstance(error, Interrupted)
    assert steps == 10


def test_a_stop_of_continuous_batching_loses_no_finished_answer(model, tokenizer, requests, tmp_path, monkeypatch):
    whole, _ = logged_scorer(model, tokenizer, tmp_path / "whole.jsonl", "continuous")
    expected = whole.generate_until(requests, disable_tqdm=True)
    broken, log = logged_scorer(model, tokenizer, tmp_path / "a.jsonl", "continuous")
    add, seen = log.add_partial, []

    def interrupting(*given):
        add(*given)
        seen.append(given)
        if len(seen) == 5:
            raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(log, "add_partial", interrupting)
    with pytest.raises(Interrupted):
        broken.generate_until(requests, disable_tqdm=True)
    again, log = logged_scorer(model, tokenizer, tmp_path / "a.jsonl", "continuous")
    asked = []
    generate_those = generate.answers_as_they_end
    monkeypatch.setattr(
        generate,
        "answers_as_they_end",
        lambda model, questions, *more: asked.append(len(questions.prompts)) or generate_those(model, questions, *more),
    )
    assert again.generate_until(requests, disable_tqdm=True) == expected
    assert asked == [18 - 5]


def test_a_run_stopped_in_the_middle_of_a_batch_ends_with_the_same_items(tmp_path, monkeypatch):
    run = small("base", **{"eval.valid": "none", "eval.limit": 30})
    whole, broken = store_in(tmp_path / "whole"), store_in(tmp_path / "broken")
    make(run, whole)
    step, steps = OpenRows._step, []

    def interrupting(self, unread):
        steps.append(1)
        if len(steps) == 100:
            raise Interrupted(signal.SIGTERM)
        return step(self, unread)

    monkeypatch.setattr(OpenRows, "_step", interrupting)
    with pytest.raises(Interrupted):
        make(run, broken)
    log = next((broken.outputs / ".workspaces").rglob("answers-test.jsonl"))
    assert '"open"' in log.read_text().splitlines()[-1]
    assert make(run, broken).status == "ok"
    samples = [store.run_folder(run.run_id).samples.read_text() for store in (whole, broken)]
    assert samples[0] == samples[1]


def test_a_row_that_had_ended_stays_as_it_was():
    """Padding behind its end, and no token that the next pass gives for it."""
    notes = []
    prompts = torch.tensor([[5, 6], [5, 7]])
    earlier = batch_in_hand.UnfinishedBatch("key", [[3, 0], [8, 9]], [True, False])
    batch = BatchInHand("key", 2, [3], 0, stops=None, note=notes.append, on_step=lambda tokens: None)
    ids = batch.resume(earlier, prompts)
    assert ids.tolist() == [[5, 6, 3, 0], [5, 7, 8, 9]]
    ids = torch.cat([ids, torch.tensor([[4], [4]])], dim=1)
    assert batch(ids, torch.empty(0)).tolist() == [True, False]
    assert ids.tolist() == [[5, 6, 3, 0, 0], [5, 7, 8, 9, 4]]
    ids = torch.cat([ids, torch.tensor([[0], [3]])], dim=1)
    assert batch(ids, torch.empty(0)).tolist() == [True, True]
    batch.write_note()
    assert notes == [batch_in_hand.UnfinishedBatch("key", [[3, 0, 0, 0], [8, 9, 4, 3]], [True, True])]
