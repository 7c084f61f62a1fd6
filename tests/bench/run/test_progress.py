"""Claims about what is seen of scoring: no long step is silent, and the time to go is that of the other questions."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console
from small_runs import small, store_in
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager

from antipasto_bench.run import progress as progress_module
from antipasto_bench.run.context import RunContext
from antipasto_bench.run.execute import execute
from antipasto_bench.run.generate import Scorer
from antipasto_bench.run.progress import WIDE, Progress, ScoringProgress
from antipasto_bench.run.train import Step
from antipasto_bench.spec.compose import compose


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def lines_of(work):
    progress = Progress()
    progress.console.file = io.StringIO()
    with progress.scoring("test") as shown:
        work(shown)
    return progress.console.file.getvalue().splitlines()


def test_ten_lines_a_split_tell_of_time_to_go(clock):
    def work(shown):
        shown.expect(1000)
        for _ in range(100):
            clock[0] += 1.0
            shown.add(10)

    lines = lines_of(work)
    assert len(lines) == 10
    assert lines[1] == "score test 200/1000  20 s, 80 s to go"
    assert lines[-1] == "score test 1000/1000  100 s, 0 s to go"


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_of_training_shows_a_loss_from_the_first_step_on(width):
    progress = Progress()
    progress.console = Console(file=io.StringIO(), force_terminal=True, width=width)
    with progress.training(4):
        pass
    assert "no step yet" in progress.console.file.getvalue()
    assert "nan" not in progress.console.file.getvalue()
    with progress.training(4) as after_step:
        after_step(Step(step=1, loss=1.25, grad_norm=1.0, lr=1e-3, tokens=100, seconds=2.0))
    shown = progress.console.file.getvalue()
    assert "loss 1.250" in shown
    assert ("50 tok/s" in shown) == (width >= WIDE)


def test_a_measured_held_out_loss_has_a_line_of_its_step_and_stays_in_the_bar(clock):
    steps = [Step(n, 1.25, 1e-3, 1.0, 100, 2.0 * n, valid_loss=0.5 if n == 13 else None) for n in range(1, 101)]
    progress = Progress()
    progress.console = Console(file=io.StringIO(), width=200)
    with progress.training(100) as after_step:
        for step in steps:
            after_step(step)
    (line,) = [line for line in progress.console.file.getvalue().splitlines() if "valid" in line]
    assert line.startswith("step 13/100  loss 1.2500  valid 0.5000  lr ")
    progress.console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress.training(100) as after_step:
        for step in steps[:20]:
            after_step(step)
    shown = progress.console.file.getvalue()
    assert "valid 0.500" in shown[shown.rindex("20/100") :]


def test_a_batch_of_minutes_tells_each_minute_how_far_it_is(clock):
    def work(shown):
        shown.expect(100)
        for token in range(1, 201):
            clock[0] += 3.0
            shown.step(token)
        shown.add(50)
        for token in range(1, 201):
            clock[0] += 3.0
            shown.step(token)

    lines = lines_of(work)
    assert len(lines) == 10 + 1 + 10
    assert lines[0] == "score test 0/100  60 s, 20 tokens of each answer of the first batch"
    assert lines[-1] == "score test 50/100  1200 s, 1200 s to go"


def test_answers_of_an_earlier_try_are_answered_and_took_no_time(clock):
    def work(shown):
        shown.expect(100, known=60)
        clock[0] += 10.0
        shown.add(20)

    assert lines_of(work)[-1] == "score test 80/100  10 s, 10 s to go"


def test_a_terminal_has_a_live_bar(clock, monkeypatch):
    progress = Progress()
    progress.console = type(progress.console)(file=io.StringIO(), force_terminal=True, width=100)
    with progress.scoring("valid") as shown:
        shown.expect(40)
        clock[0] += 10.0
        shown.add(10)
    text = progress.console.file.getvalue()
    assert "score valid" in text
    assert "10/40" in text
    assert "10 s, 30 s to go" in text


def steps_of(model, tokenizer, backend, **settings):
    """What scoring told of eight questions: (answers so far, tokens of the batch in hand), change by change."""
    changes = []
    shown = ScoringProgress(lambda progress: changes.append((progress.answered, progress.tokens)))
    config = compose("base", {"eval.batch_size": 8, "eval.backend": backend}, "nano").eval
    settings = {"until": [], "max_gen_toks": 30, "do_sample": False} | settings
    requests = [SimpleNamespace(args=(f"Question: {i} + 1?\nAnswer:", settings)) for i in range(8)]
    Scorer(model, tokenizer, config, shown).generate_until(requests, disable_tqdm=True)
    return changes


@pytest.mark.parametrize("settings", [{}, {"do_sample": True, "temperature": 0.7}, {"num_beams": 2}])
def test_no_batch_is_silent(model, tokenizer, settings):
    changes = steps_of(model, tokenizer, "hf", **settings)
    assert len([tokens for answered, tokens in changes if answered == 0 and tokens > 0]) > 5
    assert changes[-1] == (8, 0)


def test_continuous_batching_tells_that_it_waits_for_its_first_answer(model, tokenizer, monkeypatch):
    get_result, calls = ContinuousBatchingManager.get_result, []

    def slow(self, *given, **more):
        calls.append(1)
        return None if len(calls) <= 3 else get_result(self, *given, **more)

    monkeypatch.setattr(ContinuousBatchingManager, "get_result", slow)
    changes = steps_of(model, tokenizer, "continuous")
    assert changes.count((0, 0)) >= 1 + 3
    assert changes[-1] == (8, 0)


def test_before_the_first_answer_no_number_of_tokens_is_made_up(clock):
    def work(shown):
        shown.expect(100)
        clock[0] += 61.0
        shown.step(0)

    assert lines_of(work) == ["score test 0/100  61 s, no answer yet"]


@pytest.mark.slow
def test_what_is_measured_beside_training_and_scoring_has_a_line_of_its_own(tmp_path, capsys):
    general = {"eval.general": "benchmark/data/nano/general.jsonl", "eval.general_limit": 8}
    run = small("lora", steps=2, **{"eval.limit": 4, "eval.valid": "none"}, **general)
    execute(run, RunContext(store_in(tmp_path), Progress()))
    lines = capsys.readouterr().err.splitlines()
    names = ("general loss before training ...", "general loss after training ...", "measure the error of merging ...")
    places = [lines.index(name) for name in names]
    assert places == sorted(places)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["hf", "continuous"])
def test_a_run_without_a_terminal_tells_of_both_splits(tmp_path, capsys, backend):
    run = small("base", **{"eval.backend": backend, "eval.limit": 30, "eval.valid_limit": 10})
    execute(run, RunContext(store_in(tmp_path), Progress()))
    lines = capsys.readouterr().err.splitlines()
    for split, count in (("test", 30), ("valid", 10)):
        of_split = [line for line in lines if line.startswith(f"score {split} ") and "/" in line]
        assert 1 < len(of_split) <= 10
        assert f"{count}/{count}" in of_split[-1]
