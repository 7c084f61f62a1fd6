"""Claims about what the commands print."""

import json
from pathlib import Path

import pytest
from small_runs import small

from antipasto_bench.cli.output import (
    SweepPrinter,
    cache_text,
    command_line,
    forgetting_text,
    outcome_line,
    percent,
    print_outcome,
    row_json,
)
from antipasto_bench.run.execute import Outcome
from antipasto_bench.store.record import SCHEMA, RunRecord


def record(status: str = "ok", **values) -> RunRecord:
    run = small("lora")
    recorded = RunRecord.of(run, run.run_id)
    recorded.status = status
    for name, value in values.items():
        setattr(recorded, name, value)
    return recorded


def test_a_worker_is_named_before_its_lines_but_not_before_its_json(capsys):
    SweepPrinter(as_json=True).worker_line(1, '{"outcome": "ok"}')
    SweepPrinter(as_json=True).worker_line(1, "step 3/8")
    SweepPrinter(as_json=False).worker_line(0, "{not json")
    printed = capsys.readouterr()
    assert printed.out == '{"outcome": "ok"}\n'
    assert printed.err == "worker 1: step 3/8\nworker 0: {not json\n"


@pytest.mark.parametrize(
    ("status", "values", "line"),
    [
        ("ok", {"total_s": 8.4}, "done: RUN: test 43.2 ± 1.4 %, 1,234 parameters, 8 s"),
        ("done", {"total_s": 8.4}, "done already: RUN: test 43.2 ± 1.4 %, 1,234 parameters"),
        (
            "ok",
            {"total_s": 8.4, "test_loss": 0.41234, "test_loss_stderr": 0.00876},
            "done: RUN: test 43.2 ± 1.4 %, loss 0.4123 ± 0.0088 nats a token, 1,234 parameters, 8 s",
        ),
        ("failed", {"status": "failed", "error": "the disk is full"}, "failed: RUN: the disk is full"),
        (
            "done",
            {"status": "failed", "error": "the disk is full"},
            "failed: RUN: the disk is full (recorded earlier; --force makes it again)",
        ),
    ],
)
def test_an_outcome_is_one_line(status, values, line):
    scores = {"test_accuracy": 0.432, "test_stderr": 0.014, "trained_parameters": 1234}
    recorded = record(**(scores | values))
    assert outcome_line(Outcome(status, recorded.run_id, recorded)) == line.replace("RUN", recorded.run_id)


def test_the_line_of_a_result_says_what_to_type_next_and_a_failure_does_not(capsys):
    done, failed = record(test_accuracy=0.5), record("failed", error="the disk is full")
    said = command_line("show 01234567", results=Path("my results"), outputs=None)
    assert said == "antipasto-bench show 01234567 --results 'my results'"
    print_outcome(Outcome("ok", done.run_id, done), as_json=False, next_command=said)
    print_outcome(Outcome("failed", failed.run_id, failed), as_json=False, next_command=said)
    SweepPrinter(as_json=False, next_command="antipasto-bench report").all_done(3)
    printed = capsys.readouterr()
    first, second = printed.out.splitlines()
    assert first == outcome_line(Outcome("ok", done.run_id, done)) + f"; next: {said}"
    assert second == f"failed: {failed.run_id}: the disk is full"
    assert printed.err == "done: 3 of 3 runs; next: antipasto-bench report\n"


def test_a_run_of_another_process_is_said_to_be_running():
    assert outcome_line(Outcome("running", "x")) == "running in another process: x"


def test_a_row_in_json_has_every_column_and_nested_ones_as_objects():
    row = json.loads(json.dumps(row_json(record())))
    assert list(row) == list(SCHEMA)
    assert row["config"]["adapter"]["r"] == 16
    assert row["error"] is None


def test_numbers_are_printed_with_their_units():
    assert percent(None, None) == "no score"
    assert percent(0.5, None) == "50.0 %"
    assert forgetting_text(1.5, 1.625) == "+0.125 nats a token"
    assert forgetting_text(None, None) == "excerpts written"
    assert cache_text(None, [], 8, cleared=False) == "ANTIPASTO_CACHE=off: nothing is kept"
