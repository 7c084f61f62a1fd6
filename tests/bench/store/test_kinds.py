"""Claims about the kinds of test questions: recorded with a run, read strictly, shared by runs on the same ones."""

import hashlib
import json
import random
import shutil
import warnings
from pathlib import Path

import pytest
from recorded import record
from small_runs import SMALL, make, small, store_in

from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.analysis.kinds import accuracy_by_kind
from antipasto_bench.core.errors import Damaged
from antipasto_bench.report.html import page
from antipasto_bench.run.data import question_hash
from antipasto_bench.run.kinds import add_kinds
from antipasto_bench.store.folders import Store
from antipasto_bench.store.integrity import verify
from antipasto_bench.store.items import headline_scores, items_of
from antipasto_bench.store.kinds import grouping, kinds_of, questions_digest, read_kinds, store_kinds, write_kinds
from antipasto_bench.store.rebuild import rebuild
from antipasto_bench.store.run_folder import RunFolder
from antipasto_bench.store.table import append, find

ROOT = Path(__file__).parents[3]
QUESTIONS = [question_hash(str(i)) for i in range(8)]
KINDS = {question: "even" if i % 2 == 0 else "odd" for i, question in enumerate(QUESTIONS)}
TITLE = '"kinds":{"columns":'  # of the table of accuracy by kind


@pytest.fixture
def store(tmp_path):
    return store_in(tmp_path)


def write(store: Store, kinds: dict[str, str] = KINDS) -> Path:
    path = store.kinds(questions_digest(kinds))
    write_kinds(path, kinds)
    return path


@pytest.mark.parametrize(
    ("kinds", "group"),
    [
        (["a", "b", "a", "b"], True),
        (["a", "b", "a", "c"], True),
        (["a", "a", "a", "a"], False),
        (["a", "b", "c", "d"], False),
        (["a", "b", "a", None], False),
        ([], False),
    ],
)
def test_kinds_count_where_each_question_has_one_and_they_group_them(kinds, group):
    named = dict(zip(QUESTIONS, kinds, strict=False))
    assert grouping(named) == (named if group else None)


def test_equal_kinds_are_equal_bytes_and_every_changed_bit_of_them_is_noticed(store):
    path = write(store)
    content = path.read_bytes()
    assert read_kinds(path) == KINDS
    write(store, dict(reversed(KINDS.items())))
    assert path.read_bytes() == content
    rng = random.Random(0)
    noticed = 0
    for place in rng.sample(range(8 * len(content)), 400):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            assert read_kinds(path) == KINDS  # white space alone
        except ValueError:
            noticed += 1
    assert noticed > 300
    path.write_bytes(content)
    other = path.with_name("0" * 64 + ".json")
    path.rename(other)
    with pytest.raises(ValueError, match="other questions"):
        read_kinds(other)


def test_kinds_that_are_recorded_stay_and_damaged_ones_are_written_again(store, tmp_path):
    folder = RunFolder(tmp_path / "outputs" / "a-run")
    store_kinds(folder, store)
    assert not (store.results / "kinds").exists()  # the run has none
    path = write(store)
    write_kinds(folder.kinds, KINDS | {QUESTIONS[0]: "zero"})
    with pytest.warns(UserWarning, match="a-run: its test questions have other kinds than"):
        store_kinds(folder, store)
    assert read_kinds(path) == KINDS
    path.write_text("{}")
    store_kinds(folder, store)
    assert read_kinds(path) == KINDS | {QUESTIONS[0]: "zero"}


def test_lost_kinds_are_said_where_a_row_knows_of_them_and_damaged_ones_always(store):
    plain = record(store, "lora", [0, 1], questions=QUESTIONS)
    knows = plain.model_copy(update={"file_sha256": {"kinds.json": "0" * 64}})
    with warnings.catch_warnings(action="error"):
        assert kinds_of([plain], QUESTIONS, store) is None
    with pytest.warns(Damaged, match=r"kinds/[0-9a-f]{64}\.json: is missing"):
        assert kinds_of([plain, knows], QUESTIONS, store) is None
    path = write(store)
    assert kinds_of([plain, knows], QUESTIONS, store) == ("even", "odd") * 4
    for damage in (b"", b"[]", b"{", b'{"kinds": {}}', path.read_bytes().replace(b"odd", b"odds"), b"\xff"):
        path.write_bytes(damage)
        with pytest.warns(Damaged, match=path.name):
            assert kinds_of([plain], QUESTIONS, store) is None


# ------------------------------------------------------------------ of runs


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Store, list[str]]:
    """Two runs on the same few of the questions of nano."""
    store = store_in(tmp_path_factory.mktemp("kinds"))
    runs = [small("base"), small("ia3")]
    for run in runs:
        assert make(run, store).status == "ok"
    return store, [run.run_id for run in runs]


@pytest.fixture
def copy(made, tmp_path) -> Store:
    shutil.copytree(made[0].results, tmp_path / "results")
    shutil.copytree(made[0].outputs, tmp_path / "outputs")
    return store_in(tmp_path)


def nano_kinds() -> dict[str, str]:
    lines = (ROOT / "benchmark/kinds/nano_metamath.csv").read_text().splitlines()[1:]
    return dict(line.split(",") for line in lines)


def test_a_run_records_the_kinds_of_its_questions_once_and_its_arm_has_them(made):
    store, run_ids = made
    (path,) = (store.results / "kinds").iterdir()
    for run_id in run_ids:
        assert store.run_folder(run_id).kinds.read_bytes() == path.read_bytes()
    (section,) = compared_sections(store)
    for arm in section.section.arms:
        assert arm.kinds == tuple(nano_kinds()[question] for question in arm.questions)
    assert len(section.section.arms) == len(run_ids)
    table = accuracy_by_kind(section.section.arms)
    assert table is not None
    assert sum(table.counts) == SMALL["eval.limit"]
    assert TITLE in page([section], [], store)
    assert verify(store) == []


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_damaged_kinds_are_named_left_out_and_rebuilt(copy, damage):
    (path,) = (copy.results / "kinds").iterdir()
    content = path.read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(content[:-40])
    (problem,) = verify(copy)
    assert problem.startswith(f"kinds/{path.name} ")
    with pytest.warns(Damaged, match=path.name):
        (section,) = compared_sections(copy)
    assert all(arm.kinds is None for arm in section.section.arms)
    assert TITLE not in page([section], [], copy)
    rows = copy.table.read_bytes()
    rebuilt = rebuild(copy)
    assert (len(rebuilt.brought_back), rebuilt.lost) == (1, [])  # the other run shares the file
    assert path.read_bytes() == content
    assert verify(copy) == []
    assert sorted(copy.table.read_bytes().splitlines()) == sorted(rows.splitlines())


def test_kinds_that_are_damaged_in_outputs_are_not_brought_back(copy, made):
    shutil.rmtree(copy.results)
    copy.run_folder(made[1][0]).kinds.write_text("{}")
    rebuilt = rebuild(copy)
    assert rebuilt.brought_back == [made[1][1]]
    assert rebuilt.lost == [f"{made[1][0]}: kinds.json is not what its row was made from"]


@pytest.mark.parametrize("kinds", [["sums", 7], ["sums", None], None], ids=["of each", "of some", "of none"])
def test_a_data_set_says_the_kinds_of_its_questions_in_the_column_type(kinds, store, tmp_path):
    rows = [{"question": f"What is {i}+1?", "answer": f"#### {i + 1}"} for i in range(6)]
    typed = rows if kinds is None else [row | {"type": kinds[i % 2]} for i, row in enumerate(rows)]
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in typed))
    run = small("base", **{"eval.data": str(data), "eval.valid": "none"})
    assert make(run, store).status == "ok"
    questions = [question_hash(row["question"]) for row in rows]
    expected = None if kinds is None or None in kinds else {q: ("sums", "7")[i % 2] for i, q in enumerate(questions)}
    assert read_kinds(store.kinds(questions_digest(questions))) == expected
    made = find(store.table, run.run_id)
    assert made is not None
    assert ("kinds.json" in made.file_sha256) == (expected is not None)
    assert made.provenance is not None
    documents = json.dumps(rows, sort_keys=True).encode()  # kinds are no part of what is asked
    assert made.provenance.data["test:nano_metamath"].sha256 == hashlib.sha256(documents).hexdigest()


def test_the_committed_questions_have_the_kinds_that_their_generator_gave_them(tmp_path):
    committed = Store(ROOT / "results", ROOT / "outputs")
    store = store_in(tmp_path)
    lines = committed.table.read_text().splitlines()
    run_id, line = next((row["run_id"], line) for line in lines if (row := json.loads(line))["model"] == "nano")
    store.items(run_id).parent.mkdir(parents=True)
    shutil.copy(committed.items(run_id), store.items(run_id))
    store.table.write_text(line + "\n")
    (said,) = add_kinds(store)
    assert said.endswith("10 kinds of 600 questions of nano_metamath")
    assert add_kinds(store) == []
    (path,) = (store.results / "kinds").iterdir()
    assert read_kinds(path) == nano_kinds()
    row = find(store.table, run_id)
    assert row is not None
    assert set(headline_scores(items_of(row, store, "test")).questions) == set(nano_kinds())
    path.write_text("damaged")
    assert add_kinds(store) == [said]


def test_runs_on_questions_without_kinds_are_given_none(store):
    append(store.table, record(store, "lora", [0, 1], questions=QUESTIONS))
    assert add_kinds(store) == []
    assert not (store.results / "kinds").exists()
