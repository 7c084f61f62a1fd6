"""Claims about what commands print where stdout is a terminal, and that a pipe or a file gets the whole."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from command import ENVIRONMENT, bench
from recorded import failed, record

from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append, read_records

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("project")
    store = Store(home / "results", home / "outputs")
    for seed in range(2):
        append(store.table, record(store, "lora", [0, 1, 2, seed + 3], seed=seed))
        append(store.table, record(store, "antipasto", [0, seed], seed=seed))
    append(store.table, failed(store, "dora", "the loss is nan\x1b[2J, " * 9, seed=0))
    return home


def in_terminal(*words: str, cwd: Path, width: int = 80) -> str:
    """What a command prints into a terminal, its notices apart."""
    reading, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "antipasto_bench", *words],
        cwd=cwd, env=os.environ | ENVIRONMENT | {"COLUMNS": str(width), "TERM": "xterm"},
        stdout=terminal, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(terminal)
    printed = b""
    try:
        while part := os.read(reading, 65536):
            printed += part
    except OSError:  # Linux says so where the other end is closed
        pass
    os.close(reading)
    assert process.wait(200) == 0, printed
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.long
def test_a_terminal_shows_a_short_report_a_row_an_arm_and_a_pipe_gets_the_whole(home):
    short = in_terminal("report", cwd=home)
    rows = [line for line in short.splitlines() if line.startswith(("lora ", "antipasto "))]
    assert [row.split()[0] for row in rows] == ["lora", "antipasto"]
    assert "50.0 ±" in rows[0]
    assert "1,234" in rows[0]
    assert "undecided" in rows[1], "the verdict against lora"
    assert max(map(len, short.splitlines())) <= 80
    assert "1 run failed: antipasto-bench list status=failed" in short
    assert "|" not in short
    whole = bench("report", cwd=home).stdout
    assert "| variant " in whole
    assert "What each row costs" in whole
    full = in_terminal("report", "--full", cwd=home)
    assert "\x1b" not in full
    assert full == whole
    page = (home / "results/results.md").read_text()
    assert whole.strip() in page, "the file has the whole whatever is printed"


def test_a_list_fits_the_terminal_and_its_ids_end_in_the_digits_that_name_them(home):
    records = read_records(home / "results/table.ndjson")
    lines = in_terminal("list", cwd=home).splitlines()
    assert lines[0].split() == ["variant", "rank", "lr", "seed", "status", "test", "%", "run_id", "error"]
    assert max(map(len, lines)) <= 80
    assert not any("\x1b" in line for line in lines)
    for line, row in zip(lines[1:], records, strict=True):
        assert row.run_id[-8:] in line
    piped = bench("list", cwd=home).stdout.splitlines()
    for line, row in zip(piped[1:], records, strict=True):
        assert row.run_id in line
    shown = bench("show", records[0].run_id[-8:], cwd=home).stdout
    assert f"run_id: {records[0].run_id}\n" in shown


def test_a_list_is_chosen_sorted_and_cut_by_words(home):
    def listed(*words: str) -> list[str]:
        return [line.split()[0] for line in bench("list", *words, cwd=home).stdout.splitlines()[1:]]

    assert listed("seed=0", "status=ok", "--sort", "-test_accuracy") == ["lora", "antipasto"]
    assert listed("--last", "2") == ["antipasto", "dora"]
    assert listed("lora", "--sort", "train_s") == ["lora", "lora"]
    assert "train_s" in bench("list", "lora", "--sort", "train_s", cwd=home).stdout.splitlines()[0]
    assert len(bench("list", "lora", "--json", cwd=home).stdout.splitlines()) == 2
    assert bench("list", "hra", cwd=home).stdout.startswith("none of 5 runs is that")
    said = bench("list", "--sort", "acuracy", cwd=home, expect=2).stderr
    assert said.startswith("error: unknown column 'acuracy'; did you mean 'test_accuracy'?")


def test_compare_says_which_arm_it_took_on_stderr_where_stdout_is_json(home):
    store = Store(home / "results", home / "outputs")
    append(store.table, record(store, "lora", [0], rank=4, lr=2e-2))
    done = bench("compare", "lora", "antipasto", "--json", cwd=home)
    assert done.stdout.count("\n") == 1
    assert (
        "'lora' fits 2 arms; taken: lora r=16, with the defaults of preset nano. For another add rank=4" in done.stderr
    )
