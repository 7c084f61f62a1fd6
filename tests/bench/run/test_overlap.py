"""Claims about test questions in the training rows: they are counted, named, and left out or refused."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from command import SHARED
from small_runs import SMALL, make, small, store_in

from antipasto_bench.analysis.compare import compare_two
from antipasto_bench.analysis.compared_sections import compared_sections, failures
from antipasto_bench.cli.comparison_output import comparison_text
from antipasto_bench.core.errors import UserError
from antipasto_bench.report.markdown import markdown
from antipasto_bench.report.write import HTML, write_report
from antipasto_bench.run import measured_costs
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.run.overlap import find_overlap, validation_without_test_questions, without_test_questions
from antipasto_bench.spec.compose import compose, load_preset
from antipasto_bench.spec.config import DataConfig, EvalConfig
from antipasto_bench.store.record import Costs

LONG = "A farmer has 20 brown hens and 30 white hens and sells each egg of theirs for 2 dollars at a fair."
SHORT = "What is 3 + 4?"
ROWS = [
    ("Tom eats 5 of 12 apples. How many are left?",) * 2,
    (f"Yesterday, {LONG.replace('farmer', 'poor farmer').replace('20', '20,')} How much is that?", "Other"),
    ("  what is 3 + 4? ", "Other"),
    ("Other again", LONG.upper()),
    ("How many brown hens and white hens does a farmer have?", "Hens"),
]


def frame(rows):
    return pl.DataFrame([{"query": q, "response": "7.\nThe answer is: 7", "original_question": o} for q, o in rows])


def splits_of(tmp_path, rows, **given):
    path = tmp_path / "train.jsonl"
    lines = [json.dumps(row) for row in frame(rows).to_dicts()]
    path.write_text("\n" + "\n".join(lines) + "\n")  # a blank line first
    data = DataConfig(train=str(path), **given)
    return load_splits(data, EvalConfig(tasks=("t",), valid="none")), data


def test_copies_and_shared_words_are_counted_apart():
    overlap = find_overlap(frame(ROWS), [LONG, SHORT])
    assert overlap.copies == {2, 3}
    assert overlap.shared == {1}
    assert overlap.counts == {"copies": 2, "shared_13_grams": 1}


@pytest.mark.parametrize("before", range(15))
@pytest.mark.parametrize("shared", [12, 13])
def test_thirteen_words_in_a_row_are_met_wherever_they_stand_and_twelve_are_not(before, shared):
    question = " ".join(f"w{i}" for i in range(20))
    copied = [f"W{i}," for i in range(5, 5 + shared)]
    row = " ".join([*(f"x{i}" for i in range(before)), *copied, "y", "z"])
    assert find_overlap(frame([(row, row)]), [question]).shared == ({0} if shared == 13 else set())


def test_letters_beyond_ascii_are_words_in_any_unicode_form():
    question = "Café Größe " + " ".join(f"w{i}" for i in range(11))
    row = "“cafe\u0301” GRÖSSE, " + " ".join(f"W{i}" for i in range(11)) + " more"
    assert find_overlap(frame([(row, row)]), [question]).shared == {0}


@pytest.mark.parametrize(
    "row",
    ["What is 3 + 4", "\u200bWhat is 3 + 4?", "what\u00ad is 3 + 4 ?", "“What is: 3 + 4?”", "**What is 3 + 4?**"],
)
def test_a_row_of_the_same_words_is_a_copy_whatever_its_punctuation(row):
    assert find_overlap(frame([(row, "Other")]), [SHORT]).counts == {"copies": 1, "shared_13_grams": 0}


@pytest.mark.parametrize(
    ("question", "row"),
    [
        ("What is 3 + 4?", "What is 3 - 4?"),
        ("What is 1.5 of it?", "What is 15 of it?"),
        ("What is 5!", "What is 5?"),
        ("What is (2 + 3) * 4?", "What is 2 + 3 * 4?"),
        ("If Tom has 3 - 4 apples, how many does he owe?", "If Tom has 3 + 4 apples, how many does he owe?"),
    ],
)
def test_another_sign_is_another_question(question, row):
    assert find_overlap(frame([(row, row)]), [question]).counts == {"copies": 0, "shared_13_grams": 0}


@pytest.mark.parametrize("before", range(9))
@pytest.mark.parametrize("length", [7, 8, 12])
def test_a_whole_question_of_eight_words_in_a_longer_row_overlaps_and_one_of_seven_does_not(before, length):
    question = " ".join(f"w{i}" for i in range(length))
    row = " ".join([*(f"x{i}" for i in range(before)), question.upper() + ",", "y"])
    assert find_overlap(frame([(row, row)]), [question]).shared == ({0} if length >= 8 else set())
    part = row.replace(f"W{length - 1},", "z")
    assert find_overlap(frame([(part, part)]), [question]).shared == set()


def test_a_response_that_restates_a_question_overlaps():
    rows = frame([("Other", "Other")] * 2).with_columns(response=pl.Series(["7.", f"As to this: {LONG} It is 7."]))
    assert find_overlap(rows, [LONG]).counts == {"copies": 0, "shared_13_grams": 1}


def test_rows_are_dropped_before_the_limit_is_taken(tmp_path):
    rows = [ROWS[2], ROWS[0], ROWS[1], ("A", "A"), ("B", "B"), ROWS[3]]
    splits, data = splits_of(tmp_path, rows, overlap="drop")
    allowed, overlap = without_test_questions(splits, [LONG, SHORT], data.model_copy(update={"limit": 2}))
    assert allowed.places == [1, 3]
    assert overlap.counts == {"copies": 1, "shared_13_grams": 1}, "the last row was not come to"
    splits, data = splits_of(tmp_path, rows[1:], limit=1)
    allowed, overlap = without_test_questions(splits, [LONG, SHORT], data)
    assert (allowed.places, sum(overlap.counts.values())) == ([0], 0)


VALID = pl.DataFrame({"question": ["what is 3 + 4", LONG[:-1], "Other"], "answer": ["#### 7"] * 3})


@pytest.mark.parametrize(
    ("setting", "left"), [("refuse", None), ("refuse-copies", None), ("drop", [2]), ("allow", [0, 1, 2])]
)
@pytest.mark.parametrize("variant", ["base", "lora"])
def test_validation_questions_of_the_test_are_refused_dropped_or_counted(setting, left, variant):
    run = small(variant, **{"data.overlap": setting, "eval.valid": "holdout"})
    if left is None:
        with pytest.raises(UserError) as error:
            validation_without_test_questions(VALID, [LONG, SHORT], run)
        assert str(error.value) == (
            "eval.valid=holdout: 2 validation questions are copies of test questions; the first is 'what is 3 + 4'; "
            "write data.overlap=drop to leave them out, or data.overlap=allow"
        )
        return
    valid, count = validation_without_test_questions(VALID, [LONG, SHORT], run)
    assert valid is not None
    assert count == 2
    assert valid.equals(VALID[left])
    if setting == "drop":
        with pytest.raises(UserError, match="every validation question is a test question"):
            validation_without_test_questions(VALID[:2], [LONG, SHORT], run)
    assert validation_without_test_questions(None, [LONG, SHORT], run) == (None, 0)


def test_overlap_is_refused_with_the_count_the_line_and_what_to_type(tmp_path):
    splits, data = splits_of(tmp_path, ROWS)
    with pytest.raises(UserError) as error:
        without_test_questions(splits, [LONG, SHORT], data)
    said = str(error.value)
    assert "2 training rows are copies of test questions, and 1 share 13 words in a row with one" in said
    assert "the first is line 3: 'Yesterday, A poor farmer" in said
    assert said.endswith("write data.overlap=drop to leave them out, or data.overlap=allow")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("setting", "rows", "left"),
    [
        ("drop", ROWS, [0, 4]),
        ("allow", ROWS, [0, 1, 2, 3, 4]),
        ("refuse-copies", ROWS, None),
        ("refuse-copies", ROWS[:2], [0, 1]),
        ("refuse", ROWS[:1], [0]),
    ],
)
def test_what_each_setting_of_overlap_trains_on(tmp_path, setting, rows, left):
    splits, data = splits_of(tmp_path, rows, overlap=setting)
    if left is None:
        with pytest.raises(UserError, match="the first is line 4"):
            without_test_questions(splits, [LONG, SHORT], data)
        return
    allowed, overlap = without_test_questions(splits, [LONG, SHORT], data)
    assert allowed.train["query"].to_list() == [rows[index][0] for index in left]
    assert allowed.places == left
    assert overlap.counts == find_overlap(frame(rows), [LONG, SHORT]).counts


def test_where_every_row_would_be_dropped_nothing_is_trained(tmp_path):
    splits, data = splits_of(tmp_path, ROWS[2:3], overlap="drop")
    with pytest.raises(UserError, match="every row holds a test question"):
        without_test_questions(splits, [SHORT], data)


def test_the_presets_refuse_copies_or_drop_what_overlaps():
    assert load_preset("nano")["data"]["overlap"] == "refuse-copies"
    for preset in ("qwen3-0.6b", "qwen3.5-0.8b"):
        assert compose("lora", {}, preset).data.overlap == "drop"
    assert DataConfig(train="x").overlap == "refuse"


TRAIN = SHARED / "data" / "metamath_schema_from_gsm8k_train.jsonl"
TEST = SHARED / "data" / "gsm8k" / "test.jsonl"


@pytest.mark.skipif(not TEST.exists(), reason=f"real GSM8K is not beside this checkout ({SHARED})")
def test_four_rows_of_gsm8ks_training_questions_overlap_with_its_test():
    questions = [json.loads(line)["question"] for line in TEST.read_text().splitlines()]
    overlap = find_overlap(
        load_splits(DataConfig(train=str(TRAIN)), EvalConfig(tasks=("t",), valid="none")).train, questions
    )
    assert overlap.counts == {"copies": 0, "shared_13_grams": 4}


def nano_questions():
    lines = Path("benchmark/tasks/nano_metamath/test.jsonl").read_text().splitlines()
    return [json.loads(line)["question"] for line in lines]


@pytest.fixture
def contaminated(tmp_path):
    """The embedded data with copies of two test questions, one of them in other letters."""
    rows = pl.read_parquet("benchmark/data/nano/train.parquet").head(200)
    tested = nano_questions()
    copies = rows.head(2).with_columns(
        query=pl.Series([tested[0].upper(), "another"]), original_question=pl.Series([tested[0], f" {tested[1]}"])
    )
    path = tmp_path / "train.parquet"
    pl.concat([rows, copies]).write_parquet(path)
    return str(path)


@pytest.mark.long
@pytest.mark.slow
def test_a_run_refuses_drops_or_counts_test_questions_and_records_how_many(tmp_path, contaminated):
    store = store_in(tmp_path)
    with pytest.raises(UserError, match=r"2 training rows are copies .* the first is row 201: .*data\.overlap=drop"):
        make(small("lora", **{"data.train": contaminated}), store)
    assert not store.table.exists()
    untuned = make(small("base", **{"data.train": contaminated}), store).record
    assert untuned is not None, "nothing is trained"
    given = {"data.train": contaminated, "data.overlap": "drop", "data.limit": 202}
    counted, models = [], ModelCache()
    for seed in (0, 1):
        record = make(small("lora", **given, seed=seed), store, models=models).record
        assert record is not None
        assert record.provenance is not None
        overlap = record.provenance.test_overlap
        assert overlap["copies"] == 2
        assert overlap["validation"] == 0
        held_out = SMALL["eval.valid_limit"]
        assert record.provenance.data["train"].rows == 202 - held_out - sum(overlap.values())
        counted.append(overlap)
    assert counted[0] == counted[1], "the second run of a process counts what the first dropped"


@pytest.mark.slow
def test_only_questions_that_are_scored_count_and_the_count_is_said(tmp_path, contaminated, capsys):
    record = make(
        small("lora", **{"data.train": contaminated, "eval.limit": 1, "data.overlap": "allow"}), store_in(tmp_path)
    ).record
    assert record is not None
    assert record.provenance is not None
    assert record.provenance.test_overlap["copies"] == 1


@pytest.mark.long
@pytest.mark.slow
def test_a_run_is_not_validated_on_test_questions_unless_it_is_allowed(tmp_path):
    rows = [{"query": f"What is {i}+1?", "response": f"{i + 1}.\nThe answer is: {i + 1}"} for i in range(30)]
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"data.train": str(train), "eval.valid": "holdout", "eval.data": str(test)}
    plain = small("lora", **given)
    held = load_splits(plain.data, plain.eval).valid
    assert held is not None
    tested = held["question"][:3].to_list()
    test.write_text("".join(json.dumps({"question": q, "answer": "#### 1"}) + "\n" for q in tested))
    store = store_in(tmp_path)
    for variant in ("base", "lora"):
        with pytest.raises(UserError, match=r"eval\.valid=holdout: 3 validation questions are copies"):
            make(small(variant, **given), store)
        for setting, left in (("drop", held.height - 3), ("allow", held.height)):
            record = make(small(variant, **given, **{"data.overlap": setting}), store).record
            assert record is not None
            assert record.provenance is not None
            assert record.provenance.test_overlap["validation"] == 3
            assert record.provenance.data["valid"].rows == left
            items = pl.read_parquet(store.items(record.run_id)).filter(split="valid")
            assert items["doc_id"].n_unique() == left
    with pytest.raises(UserError, match=rf"eval\.valid={test}: 3 validation questions are copies of test questions"):
        make(small("lora", **given | {"eval.valid": str(test)}), store)


@pytest.mark.slow
def test_examples_that_were_drawn_before_the_check_are_drawn_again(contaminated, tokenizer):
    run = small("lora", **{"data.train": contaminated, "data.overlap": "drop", "steps": 100})
    cache = ModelCache()
    assert any(example.query == "another" for example in cache.examples(run, tokenizer))
    cache.splits_to_train(run, nano_questions())
    assert not any(example.query == "another" for example in cache.examples(run, tokenizer))


@pytest.mark.slow
def test_the_costs_of_base_and_adapter_are_measured_on_the_same_rows_with_a_run_and_alone(
    tmp_path, contaminated, monkeypatch
):
    measured = []

    def measure(run, tokenizer, splits):
        measured.append(splits.train["query"].to_list())
        return Costs()

    monkeypatch.setattr(measured_costs, "measure", measure)
    given = {"data.train": contaminated, "data.overlap": "drop", "steps": 2, "eval.limit": 2, "costs": True}
    records = [make(small(variant, **given), store_in(tmp_path)).record for variant in ("base", "lora")]
    alone = [measured_costs.measure_alone(small(variant, **given)) for variant in ("base", "lora")]
    assert all(rows == measured[0] for rows in measured)
    assert len(measured) == 4
    assert "another" not in measured[0]
    digests = {record.provenance.data["train"].sha256 for record in records} | {one.origin.train for one in alone}
    assert len(digests) == 1


@pytest.mark.long
@pytest.mark.slow
def test_what_was_allowed_is_said_under_the_table_on_the_page_and_in_compare(tmp_path, contaminated):
    """Of an arm with copies of test questions, beside one without; whatever the validation questions are."""
    store = store_in(tmp_path)
    tested = tmp_path / "tested.jsonl"
    rows = [{"question": question, "answer": "#### 1"} for question in nano_questions()[:2]]
    tested.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"data.train": contaminated, "data.overlap": "allow", "eval.valid": "holdout"}
    for variant in ("lora", "ia3", "base"):
        make(small(variant, **given), store)
    write_report(store, tmp_path / "README.md", store.results / "results.md")
    copies = r"copies of test questions \(among \d+ rows\), which their test % therefore overstates: 2 in every run\."
    for text in ((tmp_path / "README.md").read_text(), (store.results / HTML).read_text()):
        assert re.search(copies, text)
        assert "validation questions that are test" not in text
    assert re.search(copies, comparison_text(compare_two("lora", "ia3", store), {"only_a": [], "only_b": []}))
    allowed = make(small("lora", **given | {"eval.valid": str(tested)}), store).record
    assert allowed is not None
    assert allowed.provenance is not None
    overlap = allowed.provenance.test_overlap
    assert (overlap["validation"], overlap["validation_rows"], overlap["copies"]) == (2, 2, 0)
    said = markdown(compared_sections(store), failures(store))
    assert "Learning rates were chosen on validation questions that are test questions: lora r=16 (2)." in said
    assert "Training rows that ask a validation question were left out: lora r=16 (2)." in said


def test_training_rows_that_ask_a_validation_question_of_a_file_are_left_out_and_all_of_them_refused(tmp_path):
    rows = [
        {"query": f"What is {i} + 1?", "response": "r", "question": f"what is {i} + 1", "answer": "#### 1"}
        for i in range(30)
    ]
    path = tmp_path / "both.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = DataConfig(train=str(path))
    splits = load_splits(data, EvalConfig(tasks=("t",), valid=str(path), valid_limit=10))
    assert (splits.held_out, splits.places) == (10, list(range(10, 30)))
    with pytest.raises(
        UserError, match=r"every row asks a validation question of eval\.valid=.*; give other questions"
    ):
        load_splits(data, EvalConfig(tasks=("t",), valid=str(path)))
