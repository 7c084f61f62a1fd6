"""Claims about the record of a run: typed, versioned, and the same from the run that writes it to who reads it."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipasto_bench.spec.compose import compose
from antipasto_bench.store.checked_json import DIGEST, parse_object
from antipasto_bench.store.folders import Store
from antipasto_bench.store.rebuild import rebuild
from antipasto_bench.store.record import (
    NESTED,
    SCHEMA,
    SCHEMA_VERSION,
    Costs,
    NewerSchema,
    RunRecord,
    read_record,
)
from antipasto_bench.store.recording import record_in, replace, write_record
from antipasto_bench.store.table import find

ROOT = Path(__file__).parents[3]
LINES = [  # without their digests, so that a test can alter them
    json.dumps({name: value for name, value in json.loads(line).items() if name != DIGEST})
    for line in (ROOT / "results/table.ndjson").read_text().splitlines()
]


def finished(**values) -> RunRecord:
    run = compose("lora", {}, "nano")
    record = RunRecord.of(run, run.run_id)
    record.status = "failed"
    for name, value in values.items():
        setattr(record, name, value)
    return record


def test_every_committed_line_is_a_record_and_comes_back_as_it_was():
    assert len(LINES) >= 203
    for line in LINES:
        row = json.loads(line)
        row["schema"] = SCHEMA_VERSION
        config = row["config"]
        config["data"] = {"overlap": "allow"} | config["data"]  # what was done before there were settings for it
        config["eval"] = {"version": 1, "merge_bound": None} | config["eval"]
        assert read_record(line).to_json() == row


def test_the_tables_columns_are_the_records_fields_in_their_order():
    assert list(SCHEMA) == [field.alias or name for name, field in RunRecord.model_fields.items()]
    assert SCHEMA["schema"] == pl.Int64
    assert SCHEMA["lr"] == pl.Float64
    assert SCHEMA["run_id"] == pl.String
    assert {name: SCHEMA[name] for name in NESTED} == dict.fromkeys(
        ("valid_curve", "file_sha256", "metrics", "config", "provenance"), pl.String
    )


def test_a_new_record_holds_the_whole_config():
    run = compose("antipasto", {"rank": 16}, "nano")
    record = RunRecord.of(run, run.run_id)
    assert record.to_json()["config"] == run.model_dump(mode="json")
    assert record.to_json()["schema"] == SCHEMA_VERSION


@pytest.mark.parametrize(
    "wrong",
    [{"seed": "0"}, {"seed": True}, {"lr": "1e-2"}, {"test_accuracy": None, "test_n": 1.5}, {"variant": 3},
     {"config": None}, {"config": {}}, {"unknown_column": 1}, {"status": None}, {"status": "fine"}, {"schema": "2"},
     {"schema": True}, {"schema": 0}, {"metrics": []}, {"provenance": "here"}],
)  # fmt: skip
def test_a_row_of_wrong_types_is_no_record(wrong):
    with pytest.raises(ValueError, match=r"."):
        read_record(json.dumps(json.loads(LINES[0]) | wrong))


@given(st.text(max_size=40) | st.binary(max_size=40))
def test_any_other_text_is_no_record(text):
    with pytest.raises(ValueError, match=r"."):
        read_record(text)


def test_a_field_takes_no_value_of_another_type():
    record = finished()
    for name, value in (("test_n", "600"), ("lr", "1e-2"), ("train_s", float("nan"))):
        with pytest.raises(ValueError, match=name):
            setattr(record, name, value)


def test_a_record_of_the_first_version_was_made_by_one_process_and_keeps_what_it_says():
    row = finished().to_json()
    assert read_record(json.dumps(row | {"schema": 1})).processes == 1
    assert read_record(json.dumps(row | {"schema": 1, "processes": 4})).processes == 4


def test_a_curve_comes_back_as_it_was_with_its_best_and_its_last_point_and_one_out_of_order_is_no_record():
    record = finished(valid_curve=[(50, 0.75), (100, 0.5), (150, 0.5), (200, 0.625)])
    again = read_record(json.dumps(record.to_json()))
    assert again == record
    assert again.valid_curve_text == "best 0.5000 at step 100; last 0.6250 at step 200, which is what is scored"
    assert read_record(LINES[0]).valid_curve_text is None
    with pytest.raises(ValueError, match="steps do not rise"):
        read_record(json.dumps(record.to_json() | {"valid_curve": [[50, 0.75], [50, 0.5]]}))


def test_a_record_of_a_newer_version_is_named_as_such():
    with pytest.raises(NewerSchema, match=f"schema 99, this program reads {SCHEMA_VERSION}") as raised:
        read_record(json.dumps(json.loads(LINES[0]) | {"schema": 99}))
    assert raised.value.run_id == json.loads(LINES[0])["run_id"]


def test_taking_a_part_sets_what_is_set_in_it_and_nothing_else():
    record = finished(merge_s=0.5, processes=3)
    record.take(Costs(forward_ms=2.0, base_forward_ms=None))
    assert (record.forward_ms, record.base_forward_ms, record.merge_s, record.processes) == (2.0, None, 0.5, 3)
    assert record.to_json()["base_forward_ms"] is None, "measured, and there is none"
    assert "backward_ms" not in record.to_json(), "not measured"


def test_a_record_that_is_replaced_keeps_its_version_so_a_rebuilt_table_keeps_its_values(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    record = finished(processes=4, error="for a test")
    folder = store.run_folder(record.run_id)
    folder.path.mkdir(parents=True)
    write_record(folder, record)
    record.error = "measured again"
    replace(record, store)
    assert json.loads(folder.record.read_text())["schema"] == SCHEMA_VERSION
    assert record_in(folder) == find(store.table, record.run_id) == record
    store.table.unlink()
    assert rebuild(store).brought_back == [record.run_id]
    brought_back = find(store.table, record.run_id)
    assert (brought_back.processes, brought_back.error) == (4, "measured again")


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_a_whole_number_beyond_64_bits_is_no_part_of_a_record(number):
    with pytest.raises(ValueError, match="beyond 64 bits"):
        read_record(json.dumps(json.loads(LINES[0]) | {"seed": number}))
    assert parse_object(json.dumps({"seed": 2**63 - 1})) == {"seed": 2**63 - 1}
