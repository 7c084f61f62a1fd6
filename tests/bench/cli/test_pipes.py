"""Claims about a pipe as stdout: what is printed into it is lines, and one that is closed ends a command quietly."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import ENVIRONMENT

from antipasto_bench.store.table import read_records

pytestmark = pytest.mark.slow
RESULTS = Path(__file__).parents[3] / "results"
FIRST_RUN = read_records(RESULTS / "table.ndjson")[0].run_id
READING = {
    "list": ["list", "--results", RESULTS],
    "list --json": ["list", "--json", "--results", RESULTS],
    "show": ["show", FIRST_RUN, "--results", RESULTS],
    "variants": ["variants"],
    "presets": ["presets"],
    "help": ["--help"],
    "version": ["--version"],
    "dry run": ["sweep", "lora", "seed=0,1", "--dry-run"],
    "status": ["status", "--results", RESULTS],
    "status --watch": ["status", "--watch", "--results", RESULTS],
}


def start_into(stdout: int, words: list[object], cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "antipasto_bench", *map(str, words)]
    return subprocess.Popen(
        command, cwd=cwd, env=os.environ | ENVIRONMENT, stdout=stdout, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("words", READING.values(), ids=list(READING))
def test_a_command_whose_output_nobody_reads_ends_quietly(words, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    process = start_into(writing, words, tmp_path)
    os.close(writing)
    _, err = process.communicate(timeout=100)
    assert process.returncode in (0, 1)
    assert err == ""


def test_a_watched_status_prints_lines_into_a_pipe_as_they_come_and_ends_on_ctrl_c(tmp_path):
    process = start_into(subprocess.PIPE, READING["status --watch"], tmp_path)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=100)
    assert lines == [f"{RESULTS / 'table.ndjson'}: {len(read_records(RESULTS / 'table.ndjson'))} ok, 0 failed\n",
                     "nothing is being made\n"] * 2  # fmt: skip
    assert "\x1b" not in rest
    assert (process.returncode, err) == (0, "")
