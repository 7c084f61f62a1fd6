"""Claims about the comparison of a repeat with its row: what flipped, what is demanded where, and what is shown."""

import pytest
from recorded import PROVENANCE, record

from antipasto_bench.analysis.repeats import Tolerance, compare_repeat, in_words
from antipasto_bench.core.errors import Damaged, UserError
from antipasto_bench.report.repeats import NONE, repeats_markdown
from antipasto_bench.store.folders import Store
from antipasto_bench.store.repeats import RepeatRecord, add_repeat, read_repeats, repeat_problems

DEFAULT = Tolerance()
AT = {"finished_at": "2026-11-26T00:00:00+00:00", "adapter_sha256": "a" * 64}
ELSEWHERE = PROVENANCE.model_copy(update={"hardware": "another cpu", "threads": 1, "packages": {"torch": "9"}})


@pytest.fixture
def stores(tmp_path) -> tuple[Store, Store]:
    return tuple(Store(tmp_path / name / "results", tmp_path / name / "outputs") for name in ("own", "again"))


def compared(stores, again=(0, 1, 2, 3), *, nats=5.0, tolerance=DEFAULT, **fields: object) -> RepeatRecord:
    store, scratch = stores
    first = record(store, "lora", [0, 1, 2, 3], n=20, fields=AT, nats=[5.0] * 20)
    second = record(scratch, "lora", list(again), n=20, fields=AT | fields, nats=[nats] * 20)
    return compare_repeat(first, second, store, scratch, tolerance)


def test_the_same_bits_are_demanded_where_machine_threads_and_versions_are_the_same(stores):
    same = compared(stores)
    assert (same.outcome, same.demanded, same.holds, same.environment) == ("same bits", "same bits", True, [])
    other = compared(stores, adapter_sha256="b" * 64)
    assert (other.outcome, other.same_items, other.same_adapter) == ("within tolerance", True, False)
    assert not other.holds
    assert "on the same kind of machine the bits should be the same" in in_words(other)[-1]


def test_elsewhere_accuracy_and_loss_must_be_near_and_what_differs_is_named(stores):
    near = compared(stores, (0, 1, 2, 4, 5), nats=5.1, adapter_sha256="b" * 64, provenance=ELSEWHERE)
    assert (near.gained, near.lost, near.questions) == (2, 1, 20)
    assert (near.outcome, near.demanded, near.holds) == ("within tolerance", "within tolerance", True)
    assert near.loss_difference == pytest.approx(0.1 * 20 / sum(10 + i for i in range(20)))
    assert near.environment == ["hardware cpu-of-a-test, now another cpu", "threads 2, now 1"], "torch was not recorded"
    said = "\n".join(in_words(near))
    assert "accuracy: 20.0 % recorded, 25.0 % again; of 20 questions 1 that were right are wrong, and 2" in said
    assert "elsewhere it may be 10 % of the questions and 0.02 nats a token away" in said
    for changed in ({"again": range(10)}, {"nats": 7.0}, {"tolerance": Tolerance(loss=0.0), "nats": 5.1}):
        far = compared(stores, **{"again": (0, 1, 2, 3)} | changed, provenance=ELSEWHERE)
        assert (far.outcome, far.holds) == ("differs", False), changed


def test_other_questions_are_no_repeat(stores):
    store, scratch = stores
    first = record(store, "lora", [0], fields=AT)
    second = record(scratch, "lora", [0], fields=AT, questions=[f"other {i}" for i in range(8)])
    with pytest.raises(UserError, match="other questions when it was recorded"):
        compare_repeat(first, second, store, scratch, Tolerance())


def test_repeats_are_kept_line_by_line_and_damage_is_found(stores):
    store, _ = stores
    same, near = compared(stores), compared(stores, (0, 1, 2, 4, 5), provenance=ELSEWHERE)
    for repeat in (same, near):
        add_repeat(repeat, store)
    add_repeat(near, store)  # as a kill before it was noted has it
    assert read_repeats(store) == [same, near]
    assert repeat_problems(store) == []
    lines = store.repeats.read_bytes().splitlines()
    store.repeats.write_bytes(lines[0].replace(b'"lost": 0', b'"lost": 1') + b"\n" + lines[1] + b"\n")
    with pytest.warns(Damaged, match="reproduced.ndjson, line 1: not a whole repeat"):
        assert read_repeats(store) == [near]
    assert repeat_problems(store) == ["reproduced.ndjson, line 1: not what was written: its digest is another"]
    store.repeats.unlink()
    add_repeat(same.model_copy(update={"gained": 3}), store)
    assert repeat_problems(store) == [f"reproduced.ndjson: {same.run_id}: its accuracies are not those of its flips"]


def test_the_page_counts_what_held_and_names_what_differed(stores):
    same, near = compared(stores), compared(stores, (0, 1, 2, 4, 5), provenance=ELSEWHERE)
    broken = compared(stores, adapter_sha256="b" * 64)
    text = repeats_markdown([near, same, broken])
    assert text.startswith(
        "3 repeats of 1 run; on the same kind of machine 2: 1 to the last bit, 1 within the tolerance, 0 beyond it; "
        "elsewhere 1: 0 to the last bit, 1 within the tolerance, 0 beyond it.\n"
    )
    assert "| 20.0 and 25.0 | 1 lost, 2 gained of 20 |" in " ".join(text.split())
    assert "**within tolerance**" in text, "it should have had the same bits"
    assert f"- threads 2, now 1: `{near.run_id}`" in text
    assert repeats_markdown([]) == f"{NONE}\n"
