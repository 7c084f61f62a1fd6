"""Claims about what is seen of scoring: no long step is silent, and the time to go is that of the other questions."""

import io

import pytest
from small_runs import small, store_in

from antipasto_bench.run import progress as progress_module
from antipasto_bench.run.context import RunContext
from antipasto_bench.run.execute import execute
from antipasto_bench.run.progress import Progress


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


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["hf", "continuous"])
def test_a_run_without_a_terminal_tells_of_both_splits(tmp_path, capsys, backend):
    run = small("base", **{"eval.backend": backend})
    execute(run, RunContext(store_in(tmp_path), Progress()))
    lines = capsys.readouterr().err.splitlines()
    for split, count in (("test", 30), ("valid", 10)):
        of_split = [line for line in lines if line.startswith(f"score {split} ") and "/" in line]
        assert 1 < len(of_split) <= 10
        assert f"{count}/{count}" in of_split[-1]
