"""Claims about data files as people have them: read in full and alike, or refused in one line by file and line."""

import csv
import gzip
import io
import json
import os
import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import bench
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_runs import make, small, store_in

from antipasto_bench.core.errors import UserError
from antipasto_bench.run import csv_rows, json_rows, text_file
from antipasto_bench.run.data import load_splits, question_hash, question_source, read_questions, read_texts
from antipasto_bench.run.kinds import kinds_in
from antipasto_bench.run.rows import TRAIN_FIELDS, read_rows, read_source
from antipasto_bench.spec.config import DataConfig, EvalConfig

COLUMNS = [*TRAIN_FIELDS, "original_question", "type"]
ROW = {"query": "What is 1+1?", "response": "2.\nThe answer is: 2"}


def csv_text(rows: list[dict], delimiter: str = ",") -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def json_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FORMS = {
    "lines.jsonl": lambda rows: json_lines(rows).encode(),
    "lines.json": lambda rows: json_lines(rows).replace("\n", "\r\n\r\n").removesuffix("\r\n\r\n").encode(),
    "array.json": lambda rows: json.dumps(rows).encode(),
    "indented.json": lambda rows: ("\n " + json.dumps(rows, indent=2, ensure_ascii=False)).encode(),
    "lines.jsonl.gz": lambda rows: gzip.compress(json_lines(rows).encode()),
    "array.json.gz": lambda rows: gzip.compress(json.dumps(rows).encode()),
    "table.csv": lambda rows: csv_text(rows).encode(),
    "table.tsv": lambda rows: csv_text(rows, "\t").encode("utf-8-sig"),
    "table.csv.gz": lambda rows: gzip.compress(csv_text(rows).encode()),
    "wide.csv": lambda rows: csv_text(rows).encode("utf-16"),
    "wide.json": lambda rows: json.dumps(rows, ensure_ascii=False).encode("utf-16"),
    "wide-be.jsonl": lambda rows: json_lines(rows).encode("utf-16-be"),
    "widest.jsonl": lambda rows: json_lines(rows).encode("utf-32"),
    "marked.jsonl": lambda rows: json_lines(rows).encode("utf-8-sig"),
}
TEXT = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text.strip() != "")
OPTIONAL = st.none() | TEXT | st.integers(-(10**15), 10**15)
ROWS_OF_ANY_TEXT = st.lists(
    st.fixed_dictionaries({"query": TEXT, "response": TEXT, "original_question": OPTIONAL, "type": st.none() | TEXT}),
    min_size=1,
    max_size=6,
)


def as_text(rows: list[dict]) -> list[dict]:
    return [{name: None if value is None else str(value) for name, value in row.items()} for row in rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(ROWS_OF_ANY_TEXT, st.sampled_from([1, 7, 1 << 20]))
def test_the_same_rows_are_read_from_every_form(tmp_path, monkeypatch, rows, piece):
    """With any characters in them, and wherever the pieces end that a file is read in."""
    monkeypatch.setattr(text_file, "_PIECE", piece * 4)
    expected = as_text(rows)
    for name, content in FORMS.items():
        (tmp_path / name).write_bytes(content(rows))
        assert read_rows(str(tmp_path / name), TRAIN_FIELDS).to_dicts() == expected, name
    table = pl.DataFrame(expected, schema=dict.fromkeys(COLUMNS, pl.String))
    table.write_parquet(tmp_path / "a.parquet")
    arrow = pa.table({name: pa.array(table[name].to_list(), pa.large_string()) for name in COLUMNS})
    pq.write_table(arrow, tmp_path / "large.parquet")
    coded = pa.table({name: pa.array(table[name].to_list(), pa.string()).dictionary_encode() for name in COLUMNS})
    pq.write_table(coded, tmp_path / "coded.parquet")
    table.with_columns(pl.all().cast(pl.Categorical)).write_parquet(tmp_path / "categorical.parquet")
    for name in ("a.parquet", "large.parquet", "coded.parquet", "categorical.parquet"):
        assert read_rows(str(tmp_path / name), TRAIN_FIELDS).to_dicts() == expected, name


def test_cells_of_csv_are_text_as_they_stand(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'\xef\xbb\xbfid,query,response\r\n1,007,"a ""b"",\r\nc &amp; <d>"\r\n\r\n2,1e3,NA\r\n3,true,2020-01-01'
    )
    source = read_source(str(path), TRAIN_FIELDS, "train")
    assert source.frame.select(TRAIN_FIELDS).rows() == [
        ("007", 'a "b",\r\nc &amp; <d>'), ("1e3", "NA"), ("true", "2020-01-01")
    ]  # fmt: skip
    assert [source.origin.place(row) for row in range(3)] == ["line 2", "line 5", "line 6"]


def test_a_row_of_an_array_is_named_by_its_number_and_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([ROW, ROW, ROW], indent=1))
    source = read_source(str(path), TRAIN_FIELDS, "train")
    assert [source.origin.place(row) for row in range(3)] == ["row 1, line 2", "row 2, line 6", "row 3, line 10"]


@pytest.mark.parametrize(
    ("extra", "original", "kind"),
    [
        ({}, None, None),
        ({"original_question": None, "type": None}, None, None),
        ({"original_question": "  ", "type": 3}, None, "3"),
        ({"original_question": 12, "type": ["GSM"]}, "12", None),
        ({"original_question": 12.0, "type": True}, "12", None),
        ({"original_question": float("nan"), "type": {"a": 1}}, None, None),
        ({"id": 2**70, "meta": {"a": [1, None]}, "score": float("inf"), "half": "\ud83d"}, None, None),
    ],
)
def test_optional_columns_and_columns_that_are_not_read(tmp_path, extra, original, kind):
    for name, content in (("a.jsonl", json_lines([ROW | extra])), ("a.json", json.dumps([ROW | extra]))):
        (tmp_path / name).write_text(content)
        frame = read_rows(str(tmp_path / name), TRAIN_FIELDS)
        assert frame.to_dicts() == [ROW | {"original_question": original, "type": kind}]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None]), ["1", None]),
        (pa.array([1.0, float("nan")]), ["1", None]),
        (pa.array([b"a", None], pa.binary()), ["a", None]),
        (pa.array(["a", ""], pa.string_view()), ["a", None]),
        (pa.nulls(2), [None, None]),
        (pa.array([5, 5], pa.uint8()).dictionary_encode(), ["5", "5"]),
    ],
)
def test_original_questions_of_parquet_files_in_every_type(tmp_path, column, expected):
    nested = pa.array([{"a": [1]}, None])
    texts = {name: pa.array(["x", "y"]) for name in TRAIN_FIELDS}
    pq.write_table(
        pa.table({**texts, "original_question": column, "type": nested, "z": nested}), tmp_path / "a.parquet"
    )
    frame = read_rows(str(tmp_path / "a.parquet"), TRAIN_FIELDS)
    assert frame["original_question"].to_list() == expected
    assert frame["type"].to_list() == [None, None]


def test_a_type_that_is_a_class_counts_by_its_name(tmp_path):
    """In a saved folder, and in a parquet file of `datasets`: only GSM's questions are held out."""
    rows = [ROW | {"query": f"What is {i}+1?", "original_question": f"What is {i}+1?", "type": i % 2} for i in range(8)]
    texts = {name: Value("string") for name in ("query", "response", "original_question")}
    saved = Dataset.from_list(rows, Features({**texts, "type": ClassLabel(names=["MATH_AnsAug", "GSM_AnsAug"])}))
    saved.save_to_disk(tmp_path / "saved")
    saved.to_parquet(tmp_path / "a.parquet")
    for name in ("saved", "a.parquet"):
        splits = load_splits(DataConfig(train=str(tmp_path / name)), EvalConfig(tasks=("t",), valid_limit=2))
        assert splits.valid is not None
        assert all(int(question[8]) % 2 == 1 for question in splits.valid["question"])
    numbered = tmp_path / "b.parquet"
    pl.DataFrame(rows).write_parquet(numbered)
    splits = load_splits(DataConfig(train=str(numbered)), EvalConfig(tasks=("t",), valid_limit=8))
    assert splits.valid is not None
    assert len(splits.valid) == 4, "numbers say nothing of GSM"


def test_the_kinds_of_questions_are_read_from_every_form(tmp_path):
    names = ["sums", "ages", "7"]
    rows = [{"question": f"What is {i}+1?", "answer": f"#### {i + 1}", "type": names[i % 3]} for i in range(6)]
    expected = {question_hash(row["question"]): row["type"] for row in rows}
    for name, content in FORMS.items():
        (tmp_path / name).write_bytes(content(rows))
    frame = pl.DataFrame(rows)
    frame.with_columns(pl.col("type").cast(pl.Categorical)).write_parquet(tmp_path / "categories.parquet")
    texts = {"question": Value("string"), "answer": Value("string")}
    classes = Dataset.from_list(
        [row | {"type": i % 3} for i, row in enumerate(rows)], Features({**texts, "type": ClassLabel(names=names)})
    )
    classes.save_to_disk(str(tmp_path / "saved"))
    for name in (*FORMS, "categories.parquet", "saved"):
        assert kinds_in(question_source(str(tmp_path / name), "test").frame) == expected, name
        assert read_questions(str(tmp_path / name), "test").columns == ["question", "answer"]
    frame.with_columns(type=pl.arange(0, 6) // 2).write_parquet(tmp_path / "numbers.parquet")
    numbered = kinds_in(question_source(str(tmp_path / "numbers.parquet"), "test").frame)
    assert list(numbered.values()) == ["0", "0", "1", "1", "2", "2"]


def test_a_folder_of_data_files_is_read_by_its_splits(tmp_path):
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    for part in (0, 1):
        rows = [{"query": f"{part}.{i}", "response": "r", "type": i} for i in range(3)]
        pl.DataFrame(rows).write_parquet(folder / "data" / f"train-0000{part}-of-00002.parquet")
    pl.DataFrame([ROW]).write_parquet(folder / "data" / "test-00000-of-00001.parquet")
    (folder / "README.md").write_text("# A set\n")
    source = read_source(str(folder), TRAIN_FIELDS, "train")
    assert source.frame["query"].to_list() == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]
    assert source.origin.place(4) == "data/train-00001-of-00002.parquet, row 2"
    assert read_rows(str(folder), TRAIN_FIELDS, "test")["query"].to_list() == [ROW["query"]]
    with pytest.raises(UserError, match=r"has no split 'valid' \(it has: train, test\)"):
        read_rows(str(folder), TRAIN_FIELDS, "valid")
    lines = tmp_path / "lines"
    lines.mkdir()
    (lines / "train.jsonl").write_text(json_lines([ROW, ROW | {"query": 1}]))
    with pytest.raises(UserError, match=r"train\.jsonl, line 2: no text under 'query', which is a number"):
        read_rows(str(lines), TRAIN_FIELDS)
    (lines / "train.jsonl").write_text(json_lines([ROW, ROW]))
    assert read_source(str(lines), TRAIN_FIELDS, "train").origin.place(1) == "train.jsonl, line 2"


def test_a_text_of_ten_million_characters_is_read_whole(tmp_path):
    rows = [ROW | {"query": "é," * 5_000_000}]
    for name in ("lines.jsonl", "indented.json", "table.csv.gz", "wide.json"):
        (tmp_path / name).write_bytes(FORMS[name](rows))
        (read,) = read_rows(str(tmp_path / name), TRAIN_FIELDS)["query"]
        assert read == rows[0]["query"]


DEEP = '{"query": "a", "response": "b", "x": ' + "[" * 20_000 + "]" * 20_000 + "}"
CUT_GZIP = gzip.compress("".join(json.dumps(ROW | {"query": os.urandom(99).hex()}) + "\n" for _ in range(999)).encode())
LINE = json.dumps(ROW)
REFUSED = {
    "empty.json": (b"", "is empty"),
    "empty-array.json": (b" [ ]\n", "is empty"),
    "empty.csv": (b"", "is empty"),
    "header.csv": (b"query,response\n", "is empty"),
    "nothing.jsonl.gz": (gzip.compress(b""), "is empty"),
    "surrogate.jsonl": (f'{LINE}\n{{"query": "a \\ud83d b", "response": "c"}}', r"line 2: 'query' holds \\ud83d at"),
    "surrogate.json": (f'[{LINE},\n{{"query": "a", "response": "\\uDE00"}}]', r"row 2, line 2: 'response' holds \\ude"),
    "surrogate-original.jsonl": (
        '{"query": "a", "response": "b", "original_question": "\\ud83d"}',
        r"line 1: 'original_question' holds \\ud83d",
    ),
    "raw-surrogate.jsonl": (LINE.encode() + b'\n{"query": "\xed\xa0\xbd"}', r"line 2, column 12: byte 0xed is no"),
    "wide-surrogate.csv": ("query,response\na,\n".encode("utf-16") + b"\x3d\xd8\x0a\x00", "line 3, column 1: byte 0x"),
    "wide-cut.jsonl": (LINE.encode("utf-16")[:-1], f"line 1, column {len(LINE)}: byte 0x7d is no UTF-16-LE"),
    "latin.jsonl": (f'{LINE}\n{{"query": "Zoë"}}'.encode("latin-1"), "line 2, column 14: byte 0xeb is no UTF-8.*"),
    "latin.csv": ("query,response\nZoë,é\n".encode("latin-1"), "line 2, column 3: byte 0xeb is no UTF-8"),
    "deep.jsonl": (f"{LINE}\n{DEEP}", "line 2: not a row .brackets are nested too deeply"),
    "deep.json": (f"[{LINE},{DEEP}]", "row 2, line 1: not a row .brackets are nested too deeply"),
    "open.json": ("[" * 20_000, "row 1, line 1: not a row .brackets are nested"),
    "nan.jsonl": ('{"query": NaN, "response": "b"}', "line 1: no text under 'query', which is a number"),
    "null.jsonl": ('{"query": "a", "response": null}', "line 1: no text under 'response', which is null"),
    "list.jsonl": ('{"query": ["a"], "response": "b"}', "line 1: no text under 'query', which is a list"),
    "text-row.jsonl": ('"query"', "line 1: no text under 'query', since the row is text"),
    "list-row.json": (f"[{LINE}, [1]]", "row 2, line 1: no text under 'query', since the row is a list"),
    "wrong-original.jsonl": (
        '{"query": "a", "response": "b", "original_question": [1]}',
        "line 1: 'original_question' is a list; expected text, a whole number or null",
    ),
    "half-original.jsonl": ('{"query": "a", "response": "b", "original_question": 1.5}', "'original_question' is a"),
    "twice.jsonl": ('{"query": "a", "query": "b", "response": "c"}', "line 1: 'query' stands twice in one object"),
    "near.jsonl": ('{"qeury": "a", "response": "b"}', "line 1: no text under 'query'.*did you mean 'qeury'"),
    "near.csv": ("query,reponse\na,b\n", "line 1: no column 'response'; did you mean 'reponse'"),
    "twice.csv": ("query,response,query\na,b,c\n", "line 1: column 'query' is named twice"),
    "long.csv": ('query,response\n"a\nb",c\na,b,c\n', "line 4: 3 cells; the first line names 2 columns"),
    "short.csv": ("query,response\na,b\n\na\n", "line 4: 1 cells"),
    "blank.csv": ("query,response\na,\n", "line 2: no text under 'response'"),
    "open.csv": ('query,response\na,b\n"a,b\nc,d\n', "line 3: a quote is never closed"),
    "quote.csv": ('query,response\n"a" b,c\n', "line 2: ',' expected after"),
    "semicolons.csv": ("query;response\na;b\n", "line 1: no column 'query'"),
    "cut.jsonl": (f'{LINE}\n{{"query": "a"', "line 2: not JSON: .* at column 14"),
    "cut.json": (f"[{LINE},\n{LINE}", "behind row 2, line 2: not JSON .expected ',' or ']', not the end of the file"),
    "cut-row.json": (f'[{LINE},\n{{"query": "a', "row 2, line 2: not JSON: Unterminated string"),
    "comma.json": (f"[{LINE},\n]", "row 2, line 2: not JSON: Expecting value"),
    "glued.json": (f"[{LINE}\n{LINE}]", "behind row 1, line 2: not JSON .expected ',' or ']', not '{'"),
    "more.json": (f"[{LINE}]\n{LINE}", "line 2: not JSON .expected the end of the file, not '{'"),
    "one.json": (json.dumps({"rows": [ROW]}, indent=1), "line 1: not JSON"),
    "digits.jsonl": ('{"query": "a", "response": "b", "id": ' + "9" * 5000 + "}", "line 1: Exceeds the limit"),
    "cut.jsonl.gz": (CUT_GZIP[:-2000], r"line \d\d\d: the gzip file is cut short or damaged"),
    "flipped.jsonl.gz": (CUT_GZIP[:-8] + bytes(8), "line 1000: the gzip file is cut short or damaged"),
    "stub.csv.gz": (b"\x1f\x8b", "line 1: the gzip file is cut short"),
    "junk.parquet": (b"PAR1junkPAR1", "cannot be read as parquet"),
    "binary.jsonl": (b"PK\x03\x04\x80", "line 1, column 5: byte 0x80 is no UTF-8"),
    "a.xlsx": (b"PK", "expected a .jsonl, .json, .csv, .tsv"),
}  # fmt: skip


@pytest.mark.parametrize("place", ["../rows.jsonl", "{folder}/rows.jsonl"])
def test_a_readme_that_names_files_outside_its_folder_is_refused(tmp_path, place):
    folder = tmp_path / "set"
    folder.mkdir()
    for file in (folder / "rows.jsonl", tmp_path / "rows.jsonl"):
        file.write_text(json_lines([ROW]))
    named = place.format(folder=tmp_path)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {named}\n---\n")
    with pytest.raises(UserError, match=r"rows\.jsonl, which lies outside it"):
        read_rows(str(folder), TRAIN_FIELDS)


def test_a_saved_set_that_names_files_outside_its_folder_is_refused(tmp_path):
    for name in ("one", "two"):
        Dataset.from_list([ROW]).save_to_disk(tmp_path / name)
    state = tmp_path / "one/state.json"
    state.write_text(state.read_text().replace("data-00000", "../two/data-00000"))
    with pytest.raises(UserError, match=r"two/data-00000-of-00001\.arrow, which lies outside it"):
        read_rows(str(tmp_path / "one"), TRAIN_FIELDS)


def test_a_data_folder_of_links_is_read_as_the_cache_of_the_hub_holds_one(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "blob").write_text(json_lines([ROW]))
    (tmp_path / "set/train.jsonl").symlink_to("../blob")
    assert read_rows(str(tmp_path / "set"), TRAIN_FIELDS).height == 1


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line_with_its_place(tmp_path, name):
    content, said = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=rf"{re.escape(name)}.*{said}") as error:
        read_rows(str(path), TRAIN_FIELDS)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_what_is_read_of_one_file_and_of_one_row_is_bounded(tmp_path, monkeypatch):
    for module in (text_file, json_rows, csv_rows):
        monkeypatch.setattr(module, "LONGEST_ROW", 1 << 20)
    monkeypatch.setattr(text_file, "ANY_GZIP", 1 << 21)
    bomb, long, unclosed, csv_file, spaces = (
        tmp_path / name for name in ("a.jsonl.gz", "a.jsonl", "a.json", "a.csv", "b.json")
    )
    bomb.write_bytes(gzip.compress(b"\n" * (5 << 20)))
    long.write_bytes(b" " * (3 << 20))
    spaces.write_bytes(b"[" + b" " * (3 << 20))
    unclosed.write_text('[{"query": "' + "a" * (5 << 20))
    csv_file.write_text('query,response\n"' + "a\n" * (3 << 20))
    for path, said in [
        (bomb, "unpacks to more than 2,097,152 bytes, too much for its size; unpack it"),
        (long, "line 1: a row of more than 1 million characters"),
        (unclosed, "row 1: a row of more than 1 million characters"),
        (csv_file, "line 2: field larger than field limit"),
        (spaces, r"row 1, line 1: not JSON"),
    ]:
        with pytest.raises(UserError, match=said):
            read_rows(str(path), TRAIN_FIELDS)


def arrow_tables():
    texts = {name: pa.array(["x", "y"]) for name in TRAIN_FIELDS}
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    yield pa.table({**texts, "query": pa.array([1, 2])}), "column 'query' is int64, expected text"
    yield pa.table({**texts, "query": pa.array([["x"], ["y"]])}), "column 'query' is list<"
    yield pa.table({**texts, "query": pa.array([b"x", b"\xff"])}), "column 'query' .*UTF8"
    yield pa.table({"query": bad, "response": pa.array(["x"])}), "column 'query' .*UTF8"
    yield pa.table({**texts, "original_question": pa.array([1.5, 2.0])}), "'original_question' is double, expected text"
    yield pa.table({**texts, "original_question": pa.array([[1], [2]])}), "whole numbers or null"
    yield pa.table([texts["query"]] * 3, names=["query", "response", "query"]), "has two columns 'query'"
    yield pa.table({"query": texts["query"], "reponse": texts["query"]}), "no column 'response'; did you mean 'reponse'"
    yield pa.table(texts).slice(0, 0), "is empty"


@pytest.mark.parametrize("number", range(9))
def test_a_parquet_file_of_other_columns_is_refused_in_one_line(tmp_path, number):
    table, said = list(arrow_tables())[number]
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=rf"a\.parquet.*{said}") as error:
        read_rows(str(tmp_path / "a.parquet"), TRAIN_FIELDS)
    assert "\n" not in str(error.value)


def test_pipes_devices_and_odd_folders_are_refused(tmp_path):
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    inside = tmp_path / "inside"
    inside.mkdir()
    os.mkfifo(inside / "state.json")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "state.json").write_text("[]")
    for place, said in [
        (pipe, "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (inside, "state.json: not a regular file"),
        (broken, "not a folder that datasets' save_to_disk wrote"),
    ]:
        with pytest.raises(UserError, match=said):
            read_rows(str(place), TRAIN_FIELDS)
    DatasetDict({"train": Dataset.from_list([ROW])}).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "train" / "data-00000-of-00001.arrow").write_bytes(b"junk")
    with pytest.raises(UserError, match="not a folder that datasets' save_to_disk wrote"):
        read_rows(str(tmp_path / "saved"), TRAIN_FIELDS)


def test_questions_and_texts_are_read_from_these_files_too(tmp_path):
    questions = [{"question": f"What is {i}?", "answer": f"#### {i}"} for i in range(3)]
    texts = [{"text": f"a text\x00 of {i} words é"} for i in range(3)]
    for name, content in FORMS.items():
        (tmp_path / name).write_bytes(content(questions))
        assert read_questions(str(tmp_path / name), "test").to_dicts() == questions
        (tmp_path / name).write_bytes(content(texts))
        assert read_texts(str(tmp_path / name), 9) == [row["text"] for row in texts]
    half = tmp_path / "half.jsonl"
    half.write_text('{"question": "a \\ud83d", "answer": "#### 1", "text": "\\ude00"}')
    for read in (lambda: read_questions(str(half), "test"), lambda: read_texts(str(half), 1)):
        with pytest.raises(UserError, match=r"half\.jsonl, line 1: '(question|text)' holds \\u"):
            read()


DAMAGE = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.sampled_from([*FORMS, "a.parquet"]), st.lists(DAMAGE, min_size=1, max_size=4), st.floats(0.1, 1))
def test_damaged_bytes_are_read_as_they_stand_or_refused_in_one_line(tmp_path, name, damages, end):
    rows = [ROW | {"query": f"{i} é", "original_question": None, "type": "GSM"} for i in range(5)]
    path = tmp_path / name
    if name in FORMS:
        path.write_bytes(FORMS[name](rows))
    else:
        pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String)).write_parquet(path)
    content = bytearray(path.read_bytes())
    for place, change in damages:
        content[int(place * len(content))] ^= change
    path.write_bytes(content if end > 0.5 else content[: int(2 * end * len(content))])
    try:
        frame = read_rows(str(path), TRAIN_FIELDS)
    except UserError as error:
        said = str(error)
    else:
        said = str(path)
        assert frame.columns == COLUMNS
        assert (frame.select(pl.all_horizontal(pl.col(*TRAIN_FIELDS).str.strip_chars() != ""))).to_series().all()
    assert str(path) in said
    assert "\n" not in said


def test_nothing_is_written_where_data_cannot_be_read(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"query": "a", "response": "\\ud83d"}')
    (tmp_path / "answer.jsonl").write_text('{"question": "a", "answer": "\\ud83d #### 1"}')
    store = store_in(tmp_path)
    for setting, name in (("data.train", "bad"), ("eval.valid", "answer"), ("eval.data", "answer")):
        with pytest.raises(UserError, match=rf"{name}\.jsonl, line 1"):
            make(small("lora", **{setting: str(tmp_path / f"{name}.jsonl")}), store)
        with pytest.raises(UserError, match="not a regular file"):
            make(small("lora", **{setting: "/dev/zero"}), store)
    assert not store.table.exists()
    assert not list(store.outputs.rglob("*.jsonl"))


@pytest.mark.slow
def test_texts_to_measure_forgetting_on_are_checked_before_anything_is_trained(tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"text": "a b c"}\n{"text": "\\ud83d"}')
    store = store_in(tmp_path)
    with pytest.raises(UserError, match=r"texts\.jsonl, line 2: 'text' holds"):
        make(small("lora", **{"eval.general": str(tmp_path / "texts.jsonl")}), store)
    assert not store.table.exists()
    assert not list(store.outputs.rglob("*.safetensors"))


@pytest.mark.slow
def test_a_run_on_odd_texts_reads_them_whole_and_logs_valid_json(tmp_path):
    """NUL, line separators, emoji and no letters: in rows, questions, references, general texts; CSV, TSV, gzip."""
    odd = ["\x00", "a\x00b\u2028c", "\U0001f600\ufffd", "\x1b[31m", "<b>&lt;", "\r\n.", "\u202e\u0663", "e\u0301" * 40]
    rows = [{"query": f"{text} {i}?", "response": f"{text}\nThe answer is: {i}"} for i, text in enumerate(odd)]
    questions = [{"question": f"Is it {text}?", "answer": f"{text}\n#### {i}"} for i, text in enumerate(odd)]
    (tmp_path / "train.csv").write_text(csv_text(rows), newline="")
    (tmp_path / "test.json.gz").write_bytes(gzip.compress(json.dumps(questions).encode()))
    (tmp_path / "texts.tsv").write_text(csv_text([{"text": f"{t} is text"} for t in odd], "\t"), newline="")
    given = {"data.train": "train.csv", "eval.data": "test.json.gz", "eval.general": "texts.tsv"}
    store = store_in(tmp_path)
    record = make(
        small("lora", **{name: str(tmp_path / file) for name, file in given.items()} | {"eval.valid_limit": 2}), store
    ).record
    assert record is not None
    assert (record.status, record.test_n, record.valid_n) == ("ok", 8, 2)
    lines = (store.run_folder(record.run_id).samples).read_text().splitlines()
    prompts = {sample["prompt"] for sample in map(json.loads, lines) if sample["split"] == "test"}
    assert prompts == {f"Question: {each['question']} Think step by step.\nAnswer:" for each in questions}
    assert pl.read_ndjson(store.run_folder(record.run_id).samples).height == len(lines)


@pytest.mark.slow
def test_the_command_ends_in_one_line_with_exit_code_2(tmp_path):
    (tmp_path / "bad.json").write_text(f"[{LINE},\n{DEEP}]")
    ended = bench("run", "lora", "preset=nano", "data.train=bad.json", cwd=tmp_path, expect=2)
    assert "bad.json, row 2, line 2: not a row (brackets are nested too deeply)" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("results/table*"))
