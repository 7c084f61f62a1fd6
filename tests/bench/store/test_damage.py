"""Claims about damaged evidence: it is named and left out, the rest is shown, and nothing but a line is said of it."""

import json
import random
import shutil
import sys
import warnings
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import record

from antipasto_bench.cli.app import main
from antipasto_bench.core.errors import Damaged, UserError
from antipasto_bench.core.names import checked_run_id, file_name
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.checked_json import DIGEST, MOST_BYTES, parse_object
from antipasto_bench.store.evidence import backed, read_results
from antipasto_bench.store.excerpts import Answer, Excerpts, read_excerpts
from antipasto_bench.store.folders import Store
from antipasto_bench.store.leases import live_leases, logged_step
from antipasto_bench.store.record import RunRecord, read_record
from antipasto_bench.store.table import append, put, read_records

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "results"
RUN = compose("lora", {}, "nano")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def command(capsys, monkeypatch, tmp_path, *words) -> tuple[int, str, list[str]]:
    """Exit code, stdout, and the lines of stderr of a command, which may raise nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["antipasto-bench", *map(str, words)])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err.splitlines()


# ------------------------------------------------------------------ run ids


@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9._/\\\x00 -]{0,12}"))
def test_a_string_is_refused_as_a_run_id_or_gives_paths_directly_inside_their_folders(run_id):
    store = Store(Path("/r"), Path("/o"))
    try:
        checked_run_id(run_id)
    except UserError:
        for place in (store.items, store.excerpts, store.lock, store.lease, store.run_folder, store.workspace):
            with pytest.raises(UserError, match="is no run id"):
                place(run_id)
        with pytest.raises(ValueError, match="run_id"):
            RunRecord.of(RUN, run_id)
        return
    for path, folder in (
        (store.items(run_id), "/r/items"), (store.excerpts(run_id), "/r/runs"), (store.lock(run_id), "/o/.locks"),
        (store.run_folder(run_id).path, "/o"), (store.workspace(run_id).path, "/o/.workspaces"),
    ):  # fmt: skip
        assert path.parent == Path(folder)
        assert path.resolve() == path
        assert len(path.name.encode()) < 255


@pytest.mark.parametrize(
    "run_id", ["../../x", "/etc/x", "a\0b", "", "x" * 300, ".hidden", "..", "a\nb", "a\\b", "a/b", "ä", "a:b", "a b"]
)
def test_run_ids_that_lead_elsewhere_are_no_rows_and_no_words(run_id, store, capsys, monkeypatch, tmp_path):
    append(store.table, record(store, "lora", [0]))
    values = json.loads(store.table.read_text()) | {"run_id": run_id}
    del values[DIGEST]
    store.table.write_text(json.dumps(values) + "\n")
    with pytest.warns(Damaged, match="line 1: not a whole row; skipped: run_id: "):
        assert read_records(store.table) == []
    before = set(tmp_path.rglob("*"))
    code, _, err = command(capsys, monkeypatch, tmp_path, "show", "--results", store.results, "--", run_id)
    assert code == 2
    assert err[-1].startswith("error: ")
    assert set(tmp_path.rglob("*")) == before


@settings(max_examples=60)
@given(
    model=st.text(min_size=1, max_size=80).map("no-such-organisation/{}".format),
    lr=st.floats(1e-12, 1e12),
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 10**9),
    rank=st.integers(1, 1024).map(lambda blocks: 4 * blocks),
    basis=st.sampled_from(["V", "U", "both", "none"]),
)
def test_every_run_id_that_the_grammar_makes_is_one(model, lr, seed, steps, rank, basis):
    antipasto = compose("antipasto", {"rank": rank, "rotate_basis": basis}, "nano")
    for run in (antipasto, RUN, compose("base", {}, "nano")):
        changed = run.model_copy(update={"model": model, "lr": lr, "seed": seed, "steps": steps})
        assert file_name(changed.run_id) == changed.run_id


# ------------------------------------------------------------------ rows


def test_a_row_survives_every_flip_of_a_bit_by_being_noticed_or_the_same(store):
    append(store.table, record(store, "lora", [0, 1]))
    line, draw = store.table.read_bytes().rstrip(b"\n"), random.Random(0)
    whole = read_record(line).to_json()
    noticed = 0
    for _ in range(500):
        harmed = bytearray(line)
        harmed[draw.randrange(len(line))] ^= 1 << draw.randrange(8)
        try:
            assert read_record(bytes(harmed)).to_json() == whole
        except ValueError:
            noticed += 1
    assert noticed > 480


@pytest.mark.parametrize(
    "change",
    [
        {"seed": "0"}, {"seed": True}, {"test_n": 8.5}, {"config": None}, {"config": "lora"}, {"config": {}},
        {"run_id": None}, {"run_id": 3}, {"protocol": "../x"}, {"arm": "1234567"}, {"scoring": "ABCDEF01"},
        {"variant": "../lora"}, {"model": "a\nb"}, {"model": ""}, {"metrics": {"test": {"../../x": {}}}},
        {"items_sha256": "short"}, {"adapter_sha256": 3}, {"file_sha256": {"items.parquet": None}}, {"rank": "16"},
    ],
)  # fmt: skip
def test_rows_of_odd_types_are_no_rows(store, change):
    row = record(store, "lora", [0]).to_json()
    read_record(json.dumps(row))
    with pytest.raises(ValueError):  # noqa: PT011  (each says something else)
        read_record(json.dumps(row | change))
    for key, value in (("seed", "0"), ("seed", True), ("steps", 3.5), ("costs", 1), ("lr", "1e-2")):
        with pytest.raises(ValueError, match=f"config.{key}"):
            read_record(json.dumps(row | {"config": row["config"] | {key: value}}))


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 200_000, b'{"a":' * 200_000, b'{"schema": 4, "schema": 4}', b'{"schema": NaN}', b'{"schema": 1e999}',
        b'{"a": -Infinity}', b"\0" * 100, b'{"run_id": "\xff"}', b'{"run_id": "\\ud83d"}', b"{}", b"null",
        b'"' + b"x" * MOST_BYTES + b'"', b'{"schema": ' + b"9" * 5000 + b"}",
    ],
    ids=range(13),
)  # fmt: skip
def test_lines_that_are_no_json_of_ours_are_named_and_hide_nothing(store, line):
    rows = [record(store, name, [0]) for name in ("lora", "dora")]
    append(store.table, rows[0])
    with open(store.table, "ab") as file:
        file.write(line + b"\n")
    append(store.table, rows[1])
    with pytest.warns(Damaged, match=r"^table\.ndjson, line 2: not a whole row; skipped: ") as said:
        assert [row.run_id for row in read_results(store)] == [row.run_id for row in rows]
    assert len(said) == 1
    assert len(str(said[0].message)) < 300


def test_an_object_is_read_as_it_was_written_or_not_at_all():
    assert parse_object(b'{"a": [1, 2.5, null, true, "\xc3\xa4"]}') == {"a": [1, 2.5, None, True, "ä"]}
    with pytest.raises(ValueError, match="a key comes twice"):
        parse_object('{"a": {"b": 1, "b": 1}}')


def test_a_row_that_is_lost_is_named_by_its_questions_and_a_run_being_recorded_is_not(store):
    rows = [record(store, name, [0]) for name in ("lora", "dora")]
    append(store.table, rows[0])
    with pytest.warns(Damaged, match=f"^items/{rows[1].run_id}.parquet: its row is missing"):
        assert len(read_results(store)) == 1
    store.locks.mkdir(parents=True)
    store.lease(rows[1].run_id).write_text("{}")
    assert len(read_results(store)) == 1


def test_of_a_table_that_is_gone_a_few_rows_are_named_and_the_others_counted(store):
    for name in ("lora", "dora", "hra", "ia3", "pissa"):
        record(store, name, [0])
    with pytest.warns(Damaged) as said:
        assert read_results(store) == []
    assert all("its row is missing" in str(each.message) for each in said[:3])
    assert str(said[3].message) == "items/: of 2 more files the row is missing"
    assert len(said) == 4


def test_a_damaged_row_gives_way_to_a_new_one_of_its_run_and_is_put_aside(store):
    rows = [record(store, name, [0]) for name in ("lora", "dora")]
    for row in rows:
        append(store.table, row)
    lines = store.table.read_bytes().splitlines()
    harmed = lines[0].replace(b'"test_accuracy": 0.125', b'"test_accuracy": 0.925')
    assert harmed != lines[0]
    store.table.write_bytes(harmed + b"\n" + lines[1] + b"\n")
    failed = rows[0].model_copy(update={"status": "failed", "error": "no", "test_accuracy": None})
    put(store.table, failed)
    assert [row.status for row in read_records(store.table)] == ["failed", "ok"]
    assert store.table.with_suffix(".torn").read_bytes() == harmed + b"\n"


# ------------------------------------------------------------------ items and excerpts


def parquet(path: Path, **columns) -> None:
    pl.read_parquet(path).with_columns(**columns).write_parquet(path)


HARMS = {
    "two bytes": lambda path: path.write_bytes(b"PA"),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "junk": lambda path: path.write_bytes(b"\xff" * 999),
    "a score altered": lambda path: parquet(path, score=1 - pl.col("score")),
    "text for scores": lambda path: parquet(path, score=pl.col("score").cast(pl.String)),
    "a column more": lambda path: parquet(path, more=1),
    "gone": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_report_leaves_out_the_run_whose_questions_are_damaged_names_the_file_once_and_ends_with_1(
    harm, store, capsys, monkeypatch, tmp_path
):
    rows = [record(store, name, [0, 1, 2]) for name in ("base", "lora", "dora")]
    for row in rows:
        append(store.table, row)
    readme = tmp_path / "page.md"
    words = ("--results", store.results)
    HARMS[harm](store.items(rows[1].run_id))
    code, out, err = command(capsys, monkeypatch, tmp_path, "report", "--readme", readme, *words)
    assert code == 1
    assert [line for line in err if line.startswith("warning: ")] == [
        line for line in err if f"items/{rows[1].run_id}.parquet" in line
    ]
    assert sum("its row is left out" in line for line in err) == 1
    assert str(store.results) not in err[0]
    assert "| dora" in out
    assert "| lora" not in out


def test_a_comparison_of_damaged_questions_is_one_line_and_of_others_is_made(store, capsys, monkeypatch, tmp_path):
    rows = [record(store, name, [0, 1, 2]) for name in ("base", "lora", "dora")]
    for row in rows:
        append(store.table, row)
    store.items(rows[1].run_id).write_bytes(b"PA")
    words = ("--results", store.results)
    code, _, err = command(capsys, monkeypatch, tmp_path, "compare", "lora", "dora", *words)
    assert (code, err[-1][:6]) == (2, "error:")
    code, out, err = command(capsys, monkeypatch, tmp_path, "compare", "base", "dora", "--json", *words)
    assert code == 1
    assert json.loads(out)["difference"] == 0


def test_what_a_comparison_has_to_say_stands_beside_its_json_too(store, capsys, monkeypatch, tmp_path):
    row = record(store, "lora", [0, 1, 2])
    append(store.table, row)
    words = ("compare", "lora", "lora", "--json", "--results", store.results)
    code, out, err = command(capsys, monkeypatch, tmp_path, *words)
    assert (code, json.loads(out)["difference"]) == (0, 0)
    assert err == [f"A and B have a run in common: {row.run_id}."]


def test_scores_that_are_none_are_damage_though_their_digest_is_right(store):
    for score in (2.0, -1.0, float("nan"), None):
        row = record(store, "lora", [0])
        frame = pl.read_parquet(store.items(row.run_id)).with_columns(score=pl.lit(score, pl.Float64))
        frame.write_parquet(store.items(row.run_id))
        from antipasto_bench.store.items import items_digest

        row.items_sha256 = items_digest(frame)
        with pytest.warns(Damaged, match="holds a score that is none; its row is left out"):
            assert backed([row], store) == []


def test_damaged_rows_are_a_warning_of_list_and_show_whose_json_stays_whole(store, capsys, monkeypatch, tmp_path):
    rows = [record(store, name, [0]) for name in ("lora", "dora")]
    for row in rows:
        append(store.table, row)
    with open(store.table, "ab") as file:
        file.write(b"[" * 200_000 + b"\n")
    for words in (["list", "--json"], ["show", rows[0].run_id, "--json"], ["status"]):
        code, out, err = command(capsys, monkeypatch, tmp_path, *words, "--results", store.results)
        assert code == 1
        assert err == ["warning: table.ndjson, line 3: not a whole row; skipped: nested too deeply"]
        if "--json" in words:
            assert {json.loads(line)["run_id"] for line in out.splitlines()} <= {row.run_id for row in rows}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b'{"curve": 3}', b'{"answers": [{"right": 1}]}', b'{"curve": [{"step": 1, "loss": NaN}]}',
        b'{"surprise": 1}', b"\xff\xfe", b"[" * 200_000, b'{"answers": null}',
    ],
)  # fmt: skip
def test_damaged_excerpts_are_left_out_with_a_warning_and_the_row_stays(store, content):
    row = record(store, "lora", [0])
    path = store.excerpts(row.run_id)
    path.parent.mkdir(parents=True)
    path.write_text(Excerpts(answers=[Answer(right=True, prompt="1")]).model_dump_json())
    assert len(read_excerpts(row, store).answers) == 1
    path.write_bytes(content)
    with pytest.warns(Damaged, match=f"^runs/{row.run_id}.json: .*its excerpts are left out"):
        assert read_excerpts(row, store) == Excerpts()


@pytest.mark.parametrize("name", ["table.ndjson", "items", "runs"])
def test_flipped_bits_of_the_committed_results_are_noticed_or_harmless(name, tmp_path):
    """One file of a small copy at a time: what is read then is what was there, or a warning is given."""
    draw = random.Random(name)
    whole = read_records(COMMITTED / "table.ndjson")[:6]
    original = Store(COMMITTED, tmp_path / "outputs")
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for folder in ("items", "runs"):
        (store.results / folder).mkdir(parents=True)
    for row in whole:
        for own, copy in ((original.items, store.items), (original.excerpts, store.excerpts)):
            shutil.copyfile(own(row.run_id), copy(row.run_id))
    lines = (COMMITTED / "table.ndjson").read_bytes().splitlines(keepends=True)
    store.table.write_bytes(b"".join(lines[:6]))

    def seen() -> tuple[list, list]:
        rows = read_results(store)
        return [row.to_json() for row in backed(rows, store)], [read_excerpts(row, store) for row in rows]

    before, noticed = seen(), 0
    files = [store.table] if name == "table.ndjson" else sorted((store.results / name).iterdir())
    for number in range(120):
        path = draw.choice(files)
        content = path.read_bytes()
        place = draw.randrange(len(content))
        flipped = content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
        path.write_bytes(flipped if number % 4 else content[:place])
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            after = seen()
        path.write_bytes(content)
        assert after == before or any(issubclass(warning.category, Damaged) for warning in said), (path, place)
        noticed += bool(said)
    assert noticed > 110


# ------------------------------------------------------------------ runs under way


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"host": "x", "pid": -1, "since": "2026-01-01T00:00:00+00:00"}',
     '{"host": "x", "pid": 1e99, "since": "2026-01-01T00:00:00+00:00"}', '{"host": "x", "pid": 1, "since": "once"}',
     '{"host": "x", "pid": 1, "since": "2026-01-01T00:00:00"}', "[" * 200_000],
)  # fmt: skip
def test_a_damaged_lease_is_none(store, content):
    store.locks.mkdir(parents=True)
    store.lease("a").write_text(content)
    (store.locks / ".odd name.json").write_text(content)
    assert live_leases(store) == []
    store.workspace("a").path.mkdir(parents=True)
    store.workspace("a").log.write_text(content)
    assert logged_step("a", store) is None
