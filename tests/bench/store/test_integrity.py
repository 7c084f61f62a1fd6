"""Claims about looking after results: what is wrong is named, and what outputs/ keep is brought back."""

import json
import math
import shutil
import statistics

import pytest
from recorded import FILTERS, record
from small_runs import make

from antipasto_bench.core.errors import Damaged, UserError
from antipasto_bench.core.fingerprint import sha256_of
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.add_digests import add_digests, without_digests
from antipasto_bench.store.checked_json import DIGEST, with_digest
from antipasto_bench.store.file_digests import ITEMS, file_digests
from antipasto_bench.store.folders import Store
from antipasto_bench.store.integrity import verify
from antipasto_bench.store.items import read_items
from antipasto_bench.store.rebuild import rebuild
from antipasto_bench.store.record import SCHEMA_VERSION, RunRecord
from antipasto_bench.store.recording import is_unstored, store_result, write_record
from antipasto_bench.store.run_folder import RunFolder
from antipasto_bench.store.table import append, read_table


def whole(store: Store, variant: str, right: list[int], **options) -> RunRecord:
    """The record of a run that says all that its questions do: eight for each split, of which some were right."""
    n, accuracy = 8, len(right) / 8
    scores = [float(i in right) for i in range(n)]
    score = (accuracy, statistics.stdev(scores) / n**0.5)
    filters = {name: {"exact_match": score} for name in FILTERS}
    fields = {"valid_accuracy": accuracy, "valid_stderr": score[1], "valid_n": n}
    fields |= {"test_stderr": score[1], "test_strict_stderr": score[1]}
    fields["metrics"] = {
        "test": {"nano_metamath": filters},
        "valid": {"nano_metamath": {FILTERS[0]: filters[FILTERS[0]]}},
    }
    fields |= {} if variant == "base" else {"trained_parameters": 1234}
    return record(store, variant, right, n, fields | options, nats=[8.0] * n)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def test_whole_results_have_nothing_wrong(store):
    for variant in ("lora", "dora", "base"):
        append(store.table, whole(store, variant, [0, 1]))
    assert verify(store) == []


def test_everything_that_is_wrong_is_named(store):
    assert "holds no run" in verify(store)[0]
    rows = {name: whole(store, name, [0]) for name in ("lora", "dora", "hra", "ia3")}
    for row in [*rows.values(), rows["hra"]]:
        append(store.table, row)
    store.items(rows["lora"].run_id).unlink()
    whole(store, "dora", [0, 1])
    store.items(rows["ia3"].run_id).write_bytes(b"PAR1")
    shutil.copyfile(store.items(rows["hra"].run_id), store.items("stray"))
    with open(store.table, "ab") as file:
        file.write(b"[]\n" + json.dumps({"schema": 1, "run_id": "torn"}).encode())
    found = "\n".join(verify(store))
    for said in (
        f"{rows['lora'].run_id}: items/{rows['lora'].run_id}.parquet is missing",
        "is not what its row was made from",
        f"{rows['hra'].run_id}: 2 results; one is expected",
        "cannot be read",
        "stray: questions without a row",
        "line 6: not a whole row",
        "the last line was cut short",
    ):
        assert said in found, found
    assert len(found.splitlines()) == 7


def test_of_two_digests_of_items_readers_check_the_files_and_verify_both(store):
    other = whole(store, "lora", [0]).items_sha256
    row = whole(store, "lora", [0, 1])
    fields = {"file_sha256": {ITEMS: sha256_of(store.items(row.run_id))}}
    append(store.table, row := row.model_copy(update=fields | {"items_sha256": other}))
    assert read_items(row, store)
    assert verify(store) == [f"{row.run_id}: {store.name_of_items(row.run_id)} is not what its row was made from"]
    whole(store, "lora", [0, 2])
    with pytest.raises(ValueError, match="is not what its row was made from"):
        read_items(row, store)


def test_a_row_that_says_more_than_its_questions_is_named(store):
    append(store.table, whole(store, "lora", [0, 1], test_accuracy=0.9))
    assert verify(store)[0].endswith("test_accuracy is 0.9, its questions give 0.25")
    store.table.write_text(store.table.read_text().replace('"status": "ok"', '"status": "okay"'))
    assert verify(store)[0].startswith("line 1: not a whole row: ")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"test_loss": 0.5}, "test_loss is 0.5, its questions give 0.5925925926"),
        ({"test_loss_stderr": None}, "test_loss_stderr is none, its questions give 0.0380148"),
        ({"valid_loss": 0.6}, "valid_loss is 0.6, its questions give 0.5925925926"),
    ],
)
def test_a_row_that_says_another_loss_than_its_questions_is_named(store, fields, said):
    append(store.table, whole(store, "dora", [0, 1]))
    assert verify(store) == []
    append(store.table, whole(store, "lora", [0, 1], **fields))
    (problem,) = verify(store)
    assert said in problem


def test_a_row_with_a_loss_that_no_question_backs_is_named(store):
    append(store.table, record(store, "lora", [0, 1], fields={"test_loss": 0.5}))
    assert any(line.endswith("test_loss is 0.5, its questions give none") for line in verify(store))


def test_a_row_of_another_schema_is_named(store):
    values = whole(store, "lora", [0]).to_json() | {"schema": 7}
    store.table.write_text(json.dumps(with_digest(values)) + "\n")
    assert any(f"schema 7, expected {SCHEMA_VERSION}" in line for line in verify(store))


def test_what_a_killed_process_left_half_written_and_copies_of_a_run_are_not_brought_back(store):
    run = compose("lora", {}, "nano")
    lost = RunRecord.of(run, run.run_id)
    lost.status, lost.error = "failed", "for a test"
    for name in (run.run_id, f".{run.run_id}.12.34.partial", "copy"):
        folder = RunFolder(store.outputs / name)
        folder.path.mkdir(parents=True)
        write_record(folder, lost)
    assert rebuild(store).brought_back == [run.run_id]
    assert len(store.table.read_bytes().splitlines()) == 1


@pytest.mark.slow
def test_results_that_were_lost_are_rebuilt_from_outputs(store):
    from small_runs import small

    runs = [small("base"), small("ia3"), small("lora", lr=1e30)]
    for run in runs:
        make(run, store)
    before = {path: path.read_bytes() for path in store.results.rglob("*") if path.is_file()}
    shutil.rmtree(store.results)
    assert set(rebuild(store).brought_back) == {run.run_id for run in runs}
    after = {path: path.read_bytes() for path in store.results.rglob("*") if path.is_file()}
    rows = [
        {row["run_id"]: row for row in map(json.loads, files.pop(store.table).splitlines())}
        for files in (before, after)
    ]
    assert rows[0] == rows[1]
    assert {p: b for p, b in after.items() if p.suffix != ".lock"} == {
        p: b for p, b in before.items() if p.suffix != ".lock"
    }
    assert rebuild(store).brought_back == []
    store.items(runs[1].run_id).unlink()
    assert rebuild(store).brought_back == [runs[1].run_id]
    assert verify(store) == []
    assert len(read_table(store.table)) == 3
    with pytest.raises(UserError, match="holds no record of a run"):
        rebuild(Store(store.results, store.outputs / "nowhere"))


DETERMINED = (
    "test_accuracy", "test_stderr", "test_strict", "test_strict_stderr", "test_n", "valid_accuracy", "valid_stderr",
    "valid_n", "test_loss", "test_loss_stderr", "valid_loss", "valid_loss_stderr", "rank", "lr", "seed", "steps",
)  # fmt: skip
ALTERED = {
    "a thousandth more": lambda value: value + 1e-3,
    "another sign": lambda value: -value - 1,
    "null": lambda value: None,
    "NaN": lambda value: math.nan,
    "text": str,
    "true": lambda value: True,
}


def alter(store: Store, change, *, with_new_digest: bool = False) -> None:
    """Change the row of the table as a person with an editor does, who knows of no digest; or as one who does."""
    (line,) = store.table.read_text().splitlines()
    values = {name: value for name, value in json.loads(line).items() if name != DIGEST}
    change(values)
    store.table.write_text(json.dumps(with_digest(values) if with_new_digest else values) + "\n")


@pytest.mark.parametrize("with_new_digest", [False, True])
@pytest.mark.parametrize("alteration", ALTERED)
def test_each_number_that_questions_or_config_determine_is_noticed_when_it_is_altered(
    store, alteration, with_new_digest
):
    row = whole(store, "lora", [0, 1, 2], added_macs_per_token=7)
    for field in DETERMINED:
        store.table.unlink(missing_ok=True)
        append(store.table, row)

        def change(values, field=field):
            values[field] = ALTERED[alteration](values[field])

        alter(store, change, with_new_digest=with_new_digest)
        problems = [line for line in verify(store) if "questions without a row" not in line]
        named = row.run_id in problems[0] and f"{field} " in " ".join(problems)
        unread = problems[0].startswith("line 1: not a whole row: ") and (field in problems[0] or "NaN" in problems[0])
        assert named or unread, (field, problems)


@pytest.mark.parametrize("place", [("test", 0), ("test", 1), ("valid", 0), ("valid", 1)])
def test_each_number_of_the_nested_metrics_is_noticed_when_it_is_altered(store, place):
    split, index = place
    row = whole(store, "lora", [0, 1, 2])
    for name in row.metrics[split]["nano_metamath"]:
        for value in (0.3, None):
            store.table.unlink(missing_ok=True)
            append(store.table, row)

            def change(values, name=name, value=value):
                values["metrics"][split]["nano_metamath"][name]["exact_match"][index] = value

            alter(store, change)
            assert verify(store)[0].startswith(f"{row.run_id}: metrics {split}/nano_metamath/{name}/exact_match is ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"variant": "dora"}, "variant is dora, its config says lora"),
        ({"model": "other"}, "model is other, its config says nano"),
        ({"arm": "0" * 8}, "arm is 00000000, its config gives "),
        ({"protocol": "0" * 8}, "protocol is 00000000, its config gives "),
        ({"scoring": "0" * 8}, "scoring is 00000000, its config gives "),
        ({"trained_parameters": 0}, "trained_parameters is 0, which is none of lora"),
        ({"error": "no"}, "error is 'no', though it has a result"),
        ({"failed_by": "run"}, "failed_by is 'run', though it has a result"),
    ],
)
@pytest.mark.parametrize("with_new_digest", [False, True])
def test_columns_that_contradict_the_config_are_named(store, change, said, with_new_digest):
    append(store.table, whole(store, "lora", [0, 1]))
    alter(store, lambda values: values.update(change), with_new_digest=with_new_digest)
    assert any(said in line for line in verify(store)), verify(store)


@pytest.mark.parametrize("with_new_digest", [False, True])
def test_a_config_of_another_run_is_named_by_the_id(store, with_new_digest):
    append(store.table, whole(store, "lora", [0, 1]))

    def change(values):
        values["config"]["adapter"]["r"] = values["rank"] = 8

    alter(store, change, with_new_digest=with_new_digest)
    problems = verify(store)
    assert any("run_id says rank 16, its row 8" in line for line in problems)
    assert any("arm is " in line for line in problems)


def test_a_flipped_digit_of_a_number_that_nothing_determines_is_noticed_by_every_reader(store):
    row = whole(store, "lora", [0, 1])
    row.train_s = 31.25
    append(store.table, row)
    store.table.write_text(store.table.read_text().replace("31.25", "91.25"))
    with pytest.warns(Damaged, match=r"^table\.ndjson, line 1: not a whole row; skipped: not what was written"):
        assert read_table(store.table).is_empty()
    assert verify(store)[0] == "line 1: not a whole row: not what was written: its digest is another"


def finished_folder(store: Store, row: RunRecord) -> RunFolder:
    """The folder in outputs/ that such a run leaves."""
    folder = store.run_folder(row.run_id)
    folder.path.mkdir(parents=True)
    shutil.copyfile(store.items(row.run_id), folder.items)
    sample = {"split": "test", "task": "nano_metamath", "sha1": "0", "filter": FILTERS[0], "exact_match": 1.0}
    folder.samples.write_text(json.dumps(sample | {"prompt": "1 + 1", "target": "2", "response": "2"}) + "\n")
    folder.log.write_text(json.dumps({"step": 1, "loss": 2.0, "grad_norm": 1.0}) + "\n")
    row.file_sha256 = file_digests(folder)
    write_record(folder, row)
    return folder


def test_damaged_items_and_excerpts_are_brought_back_and_the_row_stays(store):
    row = whole(store, "lora", [0, 1])
    finished_folder(store, row)
    store_result(row.run_id, store)
    before = {path: path.read_bytes() for path in (store.table, store.items(row.run_id), store.excerpts(row.run_id))}
    for path in before:
        path.write_bytes(path.read_bytes()[:100] + b"\n")
        assert verify(store)
        rebuilt = rebuild(store)
        assert (rebuilt.brought_back, rebuilt.lost) == ([row.run_id], [])
        assert {path: path.read_bytes() for path in before} == before
    assert verify(store) == []


@pytest.mark.parametrize("name", ["items.parquet", "samples.jsonl", "log.jsonl", "record.json"])
def test_what_is_damaged_in_outputs_is_never_brought_back_and_each_run_is_named(store, name):
    row = whole(store, "lora", [0, 1])
    folder = finished_folder(store, row)
    for harm in (lambda content: content[:2], lambda content: content[:-9] + b"#" + content[-8:], lambda content: b""):
        whole_file = (folder.path / name).read_bytes()
        (folder.path / name).write_bytes(harm(whole_file))
        rebuilt = rebuild(store)
        assert rebuilt.brought_back == []
        (line,) = rebuilt.lost
        assert line.startswith(f"{row.run_id}: {name} ")
        assert not store.table.exists()
        assert not is_unstored(folder), "it is made again"
        (folder.path / name).write_bytes(whole_file)
    assert rebuild(store).brought_back == [row.run_id]


def test_a_good_row_is_not_replaced_by_a_record_that_its_questions_do_not_back(store):
    row = whole(store, "lora", [0, 1])
    finished_folder(store, row)
    store_result(row.run_id, store)
    table = store.table.read_bytes()
    worse = row.model_copy(update={"test_accuracy": 0.5})
    write_record(store.run_folder(row.run_id), worse)
    store.items(row.run_id).unlink()
    (line,) = rebuild(store).lost
    assert line == f"{row.run_id}: record.json: test_accuracy is 0.5, its questions give 0.25"
    assert store.table.read_bytes() == table


def test_rows_of_older_versions_are_given_digests_once_and_only_where_all_is_whole(store):
    row = whole(store, "lora", [0, 1])
    store.table.parent.mkdir(exist_ok=True)
    older = json.dumps(row.to_json() | {"schema": 3})
    store.table.write_text(older + "\n")
    assert add_digests(store) == [row.run_id]
    line = store.table.read_text()
    assert line.startswith(older[:-1])
    values = json.loads(line)
    assert values["file_sha256"] == {"items.parquet": sha256_of(store.items(row.run_id))}
    assert values == with_digest({name: value for name, value in values.items() if name != DIGEST})
    assert add_digests(store) == []
    store.table.write_text(json.dumps(row.to_json() | {"test_n": 9}) + "\n")
    with pytest.raises(UserError, match="test_n is 9, its questions give 8"):
        add_digests(store)


def test_a_damaged_line_of_a_run_that_outputs_do_not_have_is_named_and_stays(store):
    rows = [whole(store, name, [0, 1]) for name in ("lora", "dora", "hra")]
    finished_folder(store, rows[0])
    for row in rows:
        append(store.table, row)
    lines = store.table.read_bytes().splitlines(keepends=True)
    store.table.write_bytes(lines[0] + lines[1].replace(b"1234", b"1235") + lines[2])
    store.items(rows[2].run_id).unlink()
    lost = rebuild(store).lost
    assert lost[0] == f"{rows[2].run_id}: items/{rows[2].run_id}.parquet is missing; not in outputs/"
    assert lost[1].startswith("table.ndjson, line 2: not a whole row; skipped: not what was written")
    assert len(lost) == 2
    assert len(store.table.read_bytes().splitlines()) == 3


def test_a_run_whose_record_is_missing_is_named_where_results_lack_it(store):
    folder = store.run_folder("nano__lora__r4")
    folder.path.mkdir(parents=True)
    for path in (folder.config, folder.items, folder.samples):
        path.write_bytes(b"of a run")
    assert rebuild(store).lost == ["nano__lora__r4: record.json is missing"]


@pytest.mark.parametrize(
    ("adapter", "said"),
    [({"layers": 1}, "layers must be a list, got 1; write [1]"), ({"r": None}, "'r' is missing")],
    ids=["a setting of another type", "a setting that is missing"],
)
@pytest.mark.parametrize("digested", [False, True])
def test_an_adapter_that_is_of_no_variant_is_named_and_hides_no_other_problem(store, adapter, said, digested):
    first, second = (whole(store, name, [0, 1]) for name in ("lora", "dora"))
    lines = [first.to_json(), second.to_json() | {"test_n": 9}]
    settings = lines[0]["config"]["adapter"] | adapter
    lines[0]["config"]["adapter"] = {name: value for name, value in settings.items() if value is not None}
    store.table.parent.mkdir(exist_ok=True)
    store.table.write_text("".join(json.dumps(with_digest(line) if digested else line) + "\n" for line in lines))
    problems = verify(store)
    assert problems[0] == f"{first.run_id}: config.adapter is of no lora: {said}"
    assert problems[1] == f"{second.run_id}: test_n is 9, its questions give 8"


def test_digests_for_a_folder_without_a_table_make_none(store):
    with pytest.raises(UserError, match="holds no run"):
        add_digests(store)
    assert not store.results.exists()


def test_rows_without_a_digest_are_counted_since_not_all_they_say_can_be_checked(store):
    rows = [whole(store, name, [0, 1]) for name in ("lora", "dora")]
    append(store.table, rows[0])
    with open(store.table, "a") as table:
        table.write(json.dumps(rows[1].to_json() | {"train_s": 1.0}) + "\n")
    assert verify(store) == []
    assert without_digests(store) == [rows[1].run_id]
    add_digests(store)
    assert without_digests(store) == []
