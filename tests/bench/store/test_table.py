"""Claims about the table on disk: what was appended is there, once, whatever happens around it."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

import polars as pl
import pytest

from antipasto_bench.core.errors import Damaged, UserError
from antipasto_bench.core.files import atomically
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.record import SCHEMA, SCHEMA_VERSION, RunRecord
from antipasto_bench.store.table import append, find, put, read_table

RUN = compose("lora", {"lr": 1.0}, "nano")


def record(run_id: str, **fields) -> RunRecord:
    made = RunRecord.of(RUN, run_id)
    for name, value in ({"status": "ok", "test_accuracy": 0.5} | fields).items():
        setattr(made, name, value)
    return made


def test_rows_read_back_typed_with_nested_columns_intact(tmp_path):
    table = tmp_path / "deep" / "table.ndjson"
    metrics = {"test": {"task": {"filter": {"acc": (1.0, None)}}}}
    append(table, record("a", seed=3, metrics=metrics))
    frame = read_table(table)
    assert dict(frame.schema) == SCHEMA
    assert frame["schema"].to_list() == [SCHEMA_VERSION]
    found = find(table, "a")
    assert found is not None
    assert found.config == RUN
    assert found.metrics == metrics
    assert found.seed == 3
    assert found.error is None
    assert json.loads(frame["metrics"][0]) == {"test": {"task": {"filter": {"acc": [1.0, None]}}}}
    assert json.loads(frame["config"][0])["lr"] == 1
    assert find(table, "b") is None


def test_a_table_that_is_not_there_is_empty(tmp_path):
    frame = read_table(tmp_path / "table.ndjson")
    assert frame.is_empty()
    assert dict(frame.schema) == SCHEMA


def test_a_run_made_again_has_one_row_the_latest(tmp_path):
    table = tmp_path / "table.ndjson"
    for accuracy in (0.1, 0.2):
        put(table, record("a", test_accuracy=accuracy))
    put(table, record("b"))
    assert read_table(table)["run_id"].to_list() == ["a", "b"]
    assert read_table(table)["test_accuracy"].to_list() == [0.2, 0.5]
    assert len(table.read_bytes().splitlines()) == 2


def test_two_results_of_a_run_that_differ_are_reported_and_a_line_that_comes_twice_is_not(tmp_path):
    table = tmp_path / "table.ndjson"
    for accuracy in (0.1, 0.1):
        append(table, record("a", test_accuracy=accuracy))
    with warnings.catch_warnings(action="error"):
        assert read_table(table)["test_accuracy"].to_list() == [0.1]
    append(table, record("a", test_accuracy=0.2))
    with pytest.warns(Damaged, match="line 3: another result of a; it counts, the earlier one is left out"):
        assert read_table(table)["test_accuracy"].to_list() == [0.2]


def test_a_failure_never_hides_a_result(tmp_path):
    table = tmp_path / "table.ndjson"
    append(table, record("a", status="failed", error="first", test_accuracy=None))
    assert read_table(table)["status"].to_list() == ["failed"]
    append(table, record("a"))
    append(table, record("a", status="failed", error="again", test_accuracy=None))
    assert read_table(table)["status"].to_list() == ["ok"]


@pytest.mark.parametrize("junk", [b"\0" * 64, b"\xff\xfe", b"[1]", b'{"schema": 1, "run_id": "b", "status": 3}'])
def test_a_line_of_junk_is_reported_and_hides_nothing(tmp_path, junk):
    table = tmp_path / "table.ndjson"
    append(table, record("a"))
    with open(table, "ab") as file:
        file.write(b"\n" + junk + b"\n")
    append(table, record("c"))
    with pytest.warns(UserWarning, match="line 3: not a whole row; skipped"):
        assert read_table(table)["run_id"].to_list() == ["a", "c"]


def test_a_field_that_no_record_has_or_a_number_that_is_none_is_refused_before_anything_is_written():
    with pytest.raises(ValueError, match="surprise"):
        record("a", surprise=1)
    with pytest.raises(ValueError, match="test_accuracy"):
        record("a", test_accuracy=float("nan"))


@pytest.mark.parametrize("cut", [1, 20, -2])
def test_a_line_cut_short_is_reported_and_hides_nothing(tmp_path, cut):
    table = tmp_path / "table.ndjson"
    for name in "ab":
        append(table, record(name))
    whole = table.read_bytes()
    start = whole.index(b"\n") + 1
    end = start + cut if cut > 0 else len(whole) + cut
    table.write_bytes(whole[:end])  # b's line was being written when the power went
    with pytest.warns(UserWarning, match="line 2: not a whole row; skipped"):
        assert read_table(table)["run_id"].to_list() == ["a"]
    with pytest.warns(UserWarning, match="the last line was cut short; it is kept in table.torn"):
        append(table, record("c"))
    assert read_table(table)["run_id"].to_list() == ["a", "c"], "and no warning any more"
    assert table.with_suffix(".torn").read_bytes() == whole[start:end] + b"\n"


def test_a_row_takes_the_place_of_its_run_and_of_no_other(tmp_path):
    table = tmp_path / "table.ndjson"
    for name in "abc":
        put(table, record(name))
    with open(table, "ab") as file:
        file.write(b"junk\n")
    put(table, record("b", test_accuracy=0.9))
    put(table, record("b", status="failed", error="x", test_accuracy=None))
    lines = table.read_bytes().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[1])["test_accuracy"] == 0.9, "in its place; and a failure hides no result"
    assert lines[3] == b"junk"
    put(table, record("d", status="failed", error="x", test_accuracy=None))
    put(table, record("d"))
    assert json.loads(table.read_bytes().splitlines()[-1])["status"] == "ok"
    assert len(table.read_bytes().splitlines()) == 5


def test_a_row_of_an_older_program_is_read_as_this_one_would_have_written_it(tmp_path):
    table = tmp_path / "table.ndjson"
    table.write_text(json.dumps(record("a").to_json() | {"schema": 1}) + "\n")
    append(table, record("b", processes=2))
    assert read_table(table).select("run_id", "schema", "processes").rows() == [
        ("a", SCHEMA_VERSION, 1),
        ("b", SCHEMA_VERSION, 2),
    ]
    assert json.loads(table.read_bytes().splitlines()[0])["schema"] == 1, "reading changes no file"
    put(table, record("a", processes=4))
    assert read_table(table)["processes"].to_list() == [4, 2]
    table.write_text(json.dumps(record("a").to_json() | {"schema": 0}) + "\n")
    with pytest.warns(UserWarning, match="not a whole row"):
        assert read_table(table).is_empty()


def test_a_row_of_a_newer_program_is_not_misread(tmp_path):
    table = tmp_path / "table.ndjson"
    table.write_text(json.dumps(record("a").to_json() | {"schema": 99}) + "\n")
    with pytest.raises(UserError, match="schema 99"):
        read_table(table)


STORM = """
import itertools, os, random, signal, sys
from pathlib import Path
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import append

RUN = compose("lora", {}, "nano")
PROCESSES, ROWS, KILLED = 16, 100, 2

def appender(table, process, rows, write_end):
    record = RunRecord.of(RUN, "none")
    record.status, record.error = "ok", "x" * 5000
    for i in rows:
        record.run_id = f"{process}-{i}"
        append(table, record)
        os.write(write_end, f"{process}-{i}\\n".encode())  # a short write to a pipe is whole or not at all
    os._exit(0)

for seed in map(int, sys.argv[2:]):
    draw, table = random.Random(seed), Path(sys.argv[1]) / f"{seed}.ndjson"
    read_end, write_end = os.pipe()
    children = {}
    victims = {f"{process}-{draw.randrange(ROWS)}": process for process in draw.sample(range(PROCESSES), KILLED)}
    for process in range(PROCESSES):
        if not (child := os.fork()):
            os.close(read_end)
            rows = itertools.count() if process in victims.values() else range(ROWS)  # a victim appends until it dies
            appender(table, process, rows, write_end)
        children[process] = child
    os.close(write_end)
    acknowledged = []
    with open(read_end) as lines:
        for line in lines:
            acknowledged.append(line.strip())
            if line.strip() in victims:
                os.kill(children[victims[line.strip()]], signal.SIGKILL)
    codes = [os.waitpid(child, 0)[1] for child in children.values()]
    Path(sys.argv[1], f"{seed}.acknowledged").write_text("\\n".join(acknowledged))
    print(seed, sum(map(os.WIFSIGNALED, codes)), flush=True)
"""


@pytest.mark.slow
def test_sixteen_processes_that_append_at_once_lose_no_acknowledged_row(tmp_path, request):
    """100 rows each, twice; two append until they are killed: every row whose append returned is there once.

    ANTIPASTO_STORMS=6 does it six times, with other processes killed at other moments.

    The kill comes once the victim has had a random row of its first 100 acknowledged, so always while it appends.
    """
    seeds = [*map(str, range(int(os.environ.get("ANTIPASTO_STORMS", "2"))))]
    if os.access("/dev/shm", os.W_OK):  # a thousand flushes of a disk are slow; a kill loses no write
        memory = tempfile.TemporaryDirectory(dir="/dev/shm")
        request.addfinalizer(memory.cleanup)
        tmp_path = Path(memory.name)
    done = subprocess.run([sys.executable, "-c", STORM, tmp_path, *seeds], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{seed} 2" for seed in seeds], "two were killed each time, and no other"
    for seed in seeds:
        table = tmp_path / f"{seed}.ndjson"
        acknowledged = (tmp_path / f"{seed}.acknowledged").read_text().split()
        assert len(acknowledged) > 14 * 100
        put(table, record("after"))  # whoever writes next puts a line that was cut short aside
        *names, last = [json.loads(line)["run_id"] for line in table.read_bytes().splitlines()]
        assert last == "after"
        assert len(set(names)) == len(names)
        assert set(acknowledged) <= set(names)
        assert len(names) - len(acknowledged) <= 2, "on the disk, and killed before it could say so"
        assert read_table(table)["run_id"].to_list() == [*names, "after"]


@pytest.mark.slow
def test_a_full_disk_leaves_the_table_as_it_was(tmp_path):
    """A file-size limit makes the kernel cut a write short, as a disk that fills up does."""
    code = textwrap.dedent(
        f"""
        import resource, sys
        from pathlib import Path
        from antipasto_bench.spec.compose import compose
        from antipasto_bench.store.record import RunRecord
        from antipasto_bench.store.table import append
        record = RunRecord.of(compose("lora", {{}}, "nano"), "a")
        record.status = "ok"
        table = Path({str(tmp_path / "table.ndjson")!r})
        append(table, record)
        size = table.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))
        try:
            record.run_id, record.error = "b", "x" * 5000
            append(table, record)
        except OSError as error:
            print("refused", table.stat().st_size == size)
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "True"]
    assert read_table(tmp_path / "table.ndjson")["run_id"].to_list() == ["a"]


def test_atomic_writing_leaves_the_old_file_or_the_new(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail_halfway() -> None:
        with atomically(path) as partial:
            partial.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert path.read_text() == "old"
    with atomically(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.json"]


def test_items_are_readable_by_polars_alone(tmp_path):
    path = tmp_path / "items.parquet"
    with atomically(path) as partial:
        pl.DataFrame({"score": [1.0, 0.0]}).write_parquet(partial)
    assert pl.read_parquet(path)["score"].sum() == 1


def test_a_pipe_in_place_of_the_table_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "table.ndjson")
    with pytest.raises(OSError, match="is no regular file"):
        read_table(tmp_path / "table.ndjson")
