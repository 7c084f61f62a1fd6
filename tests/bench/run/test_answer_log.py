"""Claims about the log of answers: what a try has answered in whole batches, the next does not answer again."""

import signal
from types import SimpleNamespace

import pytest
import torch

from antipasto_bench.core.signals import Interrupted
from antipasto_bench.run import generate as scoring
from antipasto_bench.run.answer_log import AnswerLog, log_line, read_log
from antipasto_bench.run.generate import Scorer
from antipasto_bench.spec.compose import compose

GREEDY = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 6}
DRAWN = {"until": ["Question:"], "temperature": 0.7, "max_gen_toks": 6}


def request(number, settings, words=1):
    text = f"Question: {'Ann has 3 apples and ' * words}{number} + 1?\nAnswer:"
    return SimpleNamespace(args=(text, settings))


class Stopped(BaseException):
    pass


@pytest.fixture
def attempt(model, tokenizer, tmp_path, monkeypatch):
    """Answers requests by a scorer that takes up the log, with room for so many rows of a width.

    Returns:
        answers, None where the try was stopped; rows of each batch that was answered; and the scorer.
    """
    generate = type(model).generate
    monkeypatch.setattr(scoring, "rows_can_leave", lambda model: False)  # whole batches

    def one_try(requests, room=lambda width: 10**9, stop_at_batch=None):
        rows = []

        def in_little_memory(self, input_ids, **settings):
            if len(rows) + 1 == stop_at_batch:
                raise Stopped
            if len(input_ids) > room(input_ids.shape[1]):
                raise torch.OutOfMemoryError("CUDA out of memory")
            rows.append(len(input_ids))
            return generate(self, input_ids=input_ids, **settings)

        monkeypatch.setattr(type(model), "generate", in_little_memory)
        lm = Scorer(model, tokenizer, compose("base", {"eval.batch_size": 4}, "nano").eval)
        AnswerLog(tmp_path / "answers.jsonl", "adapter").attach_to(lm)
        try:
            return lm.generate_until(requests, disable_tqdm=True), rows, lm
        except Stopped:
            return None, rows, lm

    return one_try


def test_a_resume_survives_two_smaller_batches(attempt, tmp_path):
    """The four long questions were answered at 4; the short ones fit at 2, then the long ones, void by now, at 1."""
    requests = [request(i, GREEDY, words=20) for i in range(4)] + [request(i, GREEDY) for i in range(4)]
    _, rows, _ = attempt(requests, stop_at_batch=2)
    assert rows == [4]
    answers, rows, lm = attempt(requests, room=lambda width: 1 if width > 60 else 2)
    assert rows == [2, 2, *[1] * 8]
    assert lm.batch_size == 1
    assert len(answers) == 8
    (tmp_path / "answers.jsonl").unlink()
    assert answers == attempt(requests)[0]


def test_greedy_answers_beside_a_drawn_task_are_in_the_log(attempt):
    requests = [each for i in range(6) for each in (request(i, GREEDY), request(i, DRAWN))]
    first, rows, _ = attempt(requests)
    assert sorted(rows) == [2, 2, 4, 4]
    torch.manual_seed(1)
    again, rows, _ = attempt(requests)
    assert rows == [4, 2], "the draws alone"
    assert again[::2] == first[::2]
    assert again[1::2] != first[1::2]


@pytest.mark.parametrize(("order", "known"), [(1, 6), (-1, 4)])
def test_a_stop_beside_draws_loses_no_greedy_batch(attempt, tmp_path, order, known):
    """Nor a last batch that is not full: two batches of greedy answers before the draws, or one behind them."""
    requests = [*[request(i, GREEDY) for i in range(6)], *[request(i, DRAWN) for i in range(6)]][::order]
    answers, rows, _ = attempt(requests, stop_at_batch=4)
    assert answers is None
    assert len(rows) == 3
    batches = read_log(tmp_path / "answers.jsonl")[1:]
    logged = sum(len(batch) for batch in batches if isinstance(batch, list))
    assert logged == known
    _, rows, _ = attempt(requests)
    assert sum(rows) == 12 - known


def test_a_batch_of_draws_that_memory_does_not_hold_makes_greedy_answers_of_larger_ones_void(attempt):
    requests = [*[request(i, GREEDY) for i in range(4)], *[request(i, DRAWN, words=20) for i in range(4)]]
    answers, _, lm = attempt(requests, room=lambda width: 2 if width > 60 else 4)
    assert lm.batch_size == 2
    assert len(answers) == 8
    _, rows, lm = attempt(requests)
    assert rows == [2, 2], "greedy answers of batches of two are in the log"
    assert lm.batch_size == 2


class Answering:
    """As lm-eval's model: answers in batches, longest question first."""

    batch_size = 4

    def __init__(self, fail_after: int = 10**9) -> None:
        self.asked: list[list[str]] = []
        self.left = fail_after
        self.cache_hook = None

    def generate_until(self, requests) -> list[str]:
        args = sorted((request.args for request in requests), key=lambda arg: (-len(arg[0]), arg[0]))
        for start in range(0, len(args), 4):
            batch = args[start : start + 4]
            self.asked.append([context for context, _ in batch])
            for arg in batch:
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
                self.cache_hook.add_partial("generate_until", arg, f"{arg[0]}!")
        return []


class Asked:
    def __init__(self, context: str, **settings) -> None:
        self.args = (context, {"until": ["\n"]} | settings)


def test_scoring_goes_on_with_the_same_batches(tmp_path):
    requests = [Asked("x" * n) for n in (3, 9, 1, 7, 5, 8, 2, 6, 4, 10)]
    whole = Answering()
    AnswerLog(tmp_path / "whole.jsonl", "a").attach_to(whole)
    expected = whole.generate_until(requests)
    assert expected == [f"{request.args[0]}!" for request in requests]
    broken = Answering(fail_after=6)
    AnswerLog(tmp_path / "a.jsonl", "a").attach_to(broken)
    with pytest.raises(KeyboardInterrupt):
        broken.generate_until(requests)
    with open(tmp_path / "a.jsonl", "a") as file:
        file.write('[["torn')
    again = Answering()
    AnswerLog(tmp_path / "a.jsonl", "a").attach_to(again)
    assert again.generate_until(requests) == expected
    assert broken.asked[:1] + again.asked == whole.asked
    other = Answering()
    AnswerLog(tmp_path / "a.jsonl", "another adapter").attach_to(other)
    other.generate_until(requests)
    assert other.asked == whole.asked


def test_several_answers_to_one_question_are_draws_of_their_own(tmp_path):
    class Drawing:
        batch_size = 4

        def generate_until(self, requests) -> list[str]:
            return [f"draw {i}" for i in range(len(requests))]

    lm = Drawing()
    AnswerLog(tmp_path / "a.jsonl", "a").attach_to(lm)
    assert lm.generate_until([Asked("same", do_sample=True)] * 3) == ["draw 0", "draw 1", "draw 2"]


def test_a_question_that_is_asked_twice_is_answered_once_where_nothing_is_drawn(tmp_path):
    """lm-eval asks a last question again to give all its processes equally many."""
    lm = Answering()
    AnswerLog(tmp_path / "a.jsonl", "a").attach_to(lm)
    first, *others = lm.generate_until([Asked("x"), Asked("xx"), Asked("xx")])
    assert others[0] == others[1] != first
    assert sum(map(len, lm.asked)) == 2


def test_a_process_that_dies_while_it_reopens_its_answers_loses_none(tmp_path, monkeypatch):
    path = tmp_path / "answers.jsonl"
    lines = [log_line("adapter").rstrip("\n"), log_line([["key", "answer"]]).rstrip("\n")]
    path.write_text("\n".join([*lines, '["torn']))

    def die(*paths):
        raise Interrupted(signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr("antipasto.files.os.replace", die)  # the new file is written, and has not taken its place
        with pytest.raises(Interrupted):
            AnswerLog(path, "adapter")
    assert path.read_text().splitlines()[:2] == lines
    AnswerLog(path, "adapter")
    assert path.read_text().splitlines() == lines, "without the torn line"
