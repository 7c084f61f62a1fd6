"""Claims about looking after results: what is wrong is named, and what outputs/ keep is brought back."""

import json
import shutil

import pytest
from recorded import record
from small_runs import make

from antipasto_bench.core.errors import UserError
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.folders import Store
from antipasto_bench.store.integrity import rebuild, verify
from antipasto_bench.store.record import SCHEMA_VERSION, RunRecord
from antipasto_bench.store.recording import write_record
from antipasto_bench.store.run_folder import RunFolder
from antipasto_bench.store.table import append, read_table


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def test_whole_results_have_nothing_wrong(store):
    for variant in ("lora", "dora", "base"):
        append(store.table, record(store, variant, [0, 1]))
    assert verify(store) == []


def test_everything_that_is_wrong_is_named(store):
    assert "holds no run" in verify(store)[0]
    rows = {name: record(store, name, [0]) for name in ("lora", "dora", "hra", "ia3")}
    for row in [*rows.values(), rows["hra"]]:
        append(store.table, row)
    store.items(rows["lora"].run_id).unlink()
    record(store, "dora", [0, 1])
    store.items(rows["ia3"].run_id).write_bytes(b"PAR1")
    shutil.copyfile(store.items(rows["hra"].run_id), store.items("stray"))
    with open(store.table, "ab") as file:
        file.write(b"[]\n" + json.dumps({"schema": 1, "run_id": "torn"}).encode())
    found = "\n".join(verify(store))
    for said in (
        f"{rows['lora'].run_id}: {store.items(rows['lora'].run_id)} is missing",
        "is not what its row was made from",
        f"{rows['hra'].run_id}: 2 results; one is expected",
        "cannot be read",
        "stray: questions without a row",
        "line 6: not a whole row",
        "the last line was cut short",
    ):
        assert said in found, found
    assert len(found.splitlines()) == 7


def test_a_row_that_says_more_than_its_questions_is_named(store):
    append(store.table, record(store, "lora", [0, 1], fields={"test_accuracy": 0.9}))
    assert verify(store)[0].endswith("its questions give 0.2500, its row says 0.9000")
    store.table.write_text(store.table.read_text().replace('"status": "ok"', '"status": "okay"'))
    assert verify(store)[0] == "line 1: not a whole row"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"test_loss": 0.5}, "a test loss of 0.5926 ± 0.0380, its row says 0.5000 ± 0.0380"),
        ({"test_loss_stderr": None}, "a test loss of 0.5926 ± 0.0380, its row says 0.5926 ± none"),
        ({"valid_loss": 0.6}, "a valid loss of 0.5926 ± 0.0380, its row says 0.6000 ± 0.0380"),
    ],
)
def test_a_row_that_says_another_loss_than_its_questions_is_named(store, fields, said):
    append(store.table, record(store, "dora", [0, 1], nats=[8.0] * 8))
    assert verify(store) == []
    append(store.table, record(store, "lora", [0, 1], nats=[8.0] * 8, fields=fields))
    (problem,) = verify(store)
    assert problem.endswith(f"its questions give {said}")


def test_a_row_with_a_loss_that_no_question_backs_is_named(store):
    append(store.table, record(store, "lora", [0, 1], fields={"test_loss": 0.5}))
    assert verify(store)[0].endswith("its questions give a test loss of none ± none, its row says 0.5000 ± none")


def test_a_row_of_another_schema_is_named(store):
    append(store.table, record(store, "lora", [0]))
    store.table.write_text(store.table.read_text().replace(f'"schema": {SCHEMA_VERSION}', '"schema": 7'))
    assert any(f"schema 7, expected {SCHEMA_VERSION}" in line for line in verify(store))


def test_what_a_killed_process_left_half_written_and_copies_of_a_run_are_not_brought_back(store):
    run = compose("lora", {}, "nano")
    lost = RunRecord.of(run, run.run_id)
    lost.status, lost.error = "failed", "for a test"
    for name in (run.run_id, f".{run.run_id}.12.34.partial", "copy"):
        folder = RunFolder(store.outputs / name)
        folder.path.mkdir(parents=True)
        write_record(folder, lost)
    assert rebuild(store) == [run.run_id]
    assert len(store.table.read_bytes().splitlines()) == 1


@pytest.mark.slow
def test_results_that_were_lost_are_rebuilt_from_outputs(store):
    from small_runs import small

    runs = [small("base"), small("ia3"), small("lora", lr=1e30)]
    for run in runs:
        make(run, store)
    before = {path: path.read_bytes() for path in store.results.rglob("*") if path.is_file()}
    shutil.rmtree(store.results)
    assert set(rebuild(store)) == {run.run_id for run in runs}
    after = {path: path.read_bytes() for path in store.results.rglob("*") if path.is_file()}
    rows = [
        {row["run_id"]: row for row in map(json.loads, files.pop(store.table).splitlines())}
        for files in (before, after)
    ]
    assert rows[0] == rows[1]
    assert {p: b for p, b in after.items() if p.suffix != ".lock"} == {
        p: b for p, b in before.items() if p.suffix != ".lock"
    }
    assert rebuild(store) == []
    store.items(runs[1].run_id).unlink()
    assert rebuild(store) == [runs[1].run_id]
    assert verify(store) == []
    assert len(read_table(store.table)) == 3
    with pytest.raises(UserError, match="holds no record of a run"):
        rebuild(Store(store.results, store.outputs / "nowhere"))
