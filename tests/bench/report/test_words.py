"""Claims about the sentences of a table: each is said where it must be, and not where it must not."""

import pytest
import yaml
from recorded import failed, record

from antipasto_bench.analysis.compared_sections import ComparedSection, compared_sections
from antipasto_bench.report.beforehand import how_to_read, terms
from antipasto_bench.report.words import answer, disagreements, judged, reading, reference_note
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

EASY = list(range(300))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def add(store, variant, count, seeds=3, spread=1, nats=None, **given):
    for seed in range(seeds):
        right = EASY[: count + spread * seed]
        losses = None if nats is None else [nats + 0.001 * seed + i % 3 for i in EASY]
        append(store.table, record(store, variant, right, n=300, seed=seed, nats=losses, **given))


def only(store) -> ComparedSection:
    (section,) = compared_sections(store)
    return section


def test_the_answer_counts_the_verdicts_and_names_what_is_better_or_no_worse(store):
    add(store, "lora", 200)
    add(store, "dora", 280)
    add(store, "hra", 201)
    add(store, "ia3", 100)
    add(store, "base", 90, seeds=1)
    section = only(store)
    assert len(section.verdicts) == 4, "the untuned model's is one, and no arm that sentences count"
    first, cheap, *rest = answer(section)
    assert first == (
        "Against lora r=16, which has 67.0 % right, of 3 other trained arms 1 is better (dora r=16), 1 is no worse by "
        "2 points (hra r=16) and 1 is worse."
    )
    assert cheap == "No trained arm with fewer parameters than the reference is shown to be no worse by accuracy."
    assert not rest, "nothing is open"


def test_the_cheap_arm_is_named_where_it_is_no_worse_and_trains_less(store):
    for variant, count, size in (("lora", 200, 1000), ("dora", 280, 900), ("hra", 201, 500), ("ia3", 90, 10)):
        add(store, variant, count, fields={"trained_parameters": size})
    assert answer(only(store))[1] == (
        "Of those that are better or no worse, hra r=16 trains the fewest parameters: 500, where the reference trains "
        "1,000."
    )


def test_what_is_undecided_is_said_with_what_it_can_hide_and_is_no_sign_of_equality(store):
    add(store, "lora", 200, spread=10)
    add(store, "dora", 190, spread=10)
    first, _, last = answer(only(store))
    assert first.endswith(" % right, dora r=16 is undecided.")
    assert last.startswith("An undecided arm can still differ by ")
    assert "equal" not in " ".join(answer(only(store)))


def test_one_seed_an_arm_claims_nothing_of_methods(store):
    add(store, "lora", 200, seeds=1)
    add(store, "dora", 20, seeds=1)
    section = only(store)
    assert answer(section) == [
        "These runs only: every trained arm has one seed, so nothing follows for the methods. Most questions were "
        "answered right by lora r=16, 66.7 %."
    ]
    assert (section.verdicts, section.accuracy.p) == ({}, {})
    said = " ".join(reading(section))
    assert "holds for these runs" in said
    assert "verdict" not in said
    assert "rank among" not in said


def test_an_arm_with_one_seed_in_a_table_of_several_gets_no_verdict(store):
    add(store, "lora", 200)
    add(store, "dora", 201)
    add(store, "ia3", 20, seeds=1)
    section = only(store)
    ia3 = next(row for row in section.arms if row.arm.variant == "ia3")
    assert (ia3.verdict, ia3.ranks) == (None, None)
    assert answer(section)[0].endswith("% right, dora r=16 is no worse by 2 points.")


def test_a_reference_that_the_table_lacks_is_said(store):
    add(store, "dora", 200)
    add(store, "hra", 100)
    assert answer(only(store)) == ["No arm is lora, the planned reference: no arm gets a verdict."]
    add(store, "lora", 150, seeds=1)
    assert answer(only(store)) == ["lora r=16 is the reference, and it has one seed: no arm gets a verdict."]


def test_a_plan_names_another_reference_margin_and_looks(store):
    add(store, "dora", 200)
    add(store, "hra", 201)
    (store.results / "plan.yaml").write_text(yaml.safe_dump({"reference": "dora", "margin": 5, "looks": "every seed"}))
    section = only(store)
    assert answer(section)[0].startswith("Against dora r=16, ")
    assert answer(section)[0].endswith("hra r=16 is no worse by 5 points.")
    assert any("and for looking at every new seed" in line for line in reading(section))


def test_accuracy_and_loss_that_disagree_are_named_and_those_that_agree_are_not(store):
    add(store, "lora", 200, nats=5.0)
    add(store, "dora", 280, nats=9.0)
    add(store, "hra", 100, nats=9.0)
    section = only(store)
    assert disagreements(section) == ["dora r=16"], "more right and a higher loss"
    assert answer(section)[-1] == "Accuracy and held-out loss point in opposite directions for dora r=16."


def test_the_reference_is_explained_where_its_variant_has_several_settings(store):
    add(store, "lora", 200)
    add(store, "dora", 150)
    assert reference_note(only(store)) == ""
    add(store, "lora", 250, rank=64)
    assert reference_note(only(store)) == "The reference is lora r=16, the one with its preset's defaults."


def test_errors_are_over_kinds_only_where_there_are_kinds(store):
    add(store, "lora", 200)
    add(store, "dora", 150)
    assert "over questions and seeds" in reading(only(store))[0]


def test_a_reference_with_seeds_beside_arms_of_one_is_not_said_to_lack_them(store):
    add(store, "lora", 200)
    add(store, "dora", 150, seeds=1)
    said = ["lora r=16 is the reference, and no arm beside it has two seeds: no arm gets a verdict."]
    assert answer(only(store)) == said


def test_a_reference_of_which_every_run_diverged_is_said_to_have(store):
    add(store, "dora", 200)
    add(store, "hra", 100)
    for seed in range(2):
        lost = failed(store, "lora", "the loss is nan", seed=seed)
        append(store.table, lost.model_copy(update={"failed_by": "run"}))
    assert answer(only(store)) == ["Every run of lora, the planned reference, diverged: no arm gets a verdict."]


def test_of_several_references_without_defaults_none_is_taken_for_its_scores(store):
    for rank, count in ((64, 280), (8, 100), (4, 200)):
        add(store, "lora", count, rank=rank)
    assert reference_note(only(store)) == "The reference is lora r=4, the one of the lowest rank, then learning rate."


def test_a_margin_is_of_the_word_no_worse_alone(store):
    add(store, "lora", 200)
    add(store, "dora", 280)
    assert "by 2 points" not in answer(only(store))[0], "better is better than equal, by whatever"


def test_verdicts_by_loss_have_their_own_margin_and_number(store):
    add(store, "lora", 200, nats=5.0)
    add(store, "dora", 201, nats=5.0)
    add(store, "hra", 150)
    said = " ".join(reading(only(store)))
    assert "corrected for 2 comparisons (Holm" in said
    assert "verdict by loss: likewise, by a margin of 0.01 nats a token, corrected for 1 comparison." in said


def test_a_margin_that_the_reference_itself_did_not_gain_is_said_and_leaves_no_arm_no_worse(store):
    add(store, "lora", 200, nats=5.0)
    add(store, "dora", 201, nats=5.0)
    add(store, "base", 120, seeds=1, nats=9.0)
    assert "is not shown to have" not in " ".join(reading(only(store)))
    for record_file in store.results.rglob("*.ndjson"):
        record_file.unlink()
    add(store, "lora", 200, nats=5.0)
    add(store, "dora", 201, nats=5.0)
    add(store, "base", 199, seeds=1, nats=5.001)
    section = only(store)
    said = " ".join(reading(section))
    assert (
        "lora r=16 is not shown to have 2 points more right than the untuned model, so no arm is called no worse by "
        "accuracy." in said
    )
    assert (
        "lora r=16 is not shown to have 0.01 nats a token less than the untuned model, so no arm is called no worse by "
        "held-out loss." in said
    )
    words = {verdict.word for verdict in [*section.verdicts.values(), *section.loss_verdicts.values()]}
    assert "no worse" not in words


def test_an_interval_that_leaves_out_zero_beside_a_verdict_that_does_not_say_so_is_explained(store):
    """Of many arms one differs by as much as its pair alone would show, and the family's correction does not."""
    add(store, "lora", 200)
    for variant in ("dora", "pissa", "hra", "road", "ia3", "ia3_ff", "delora", "lora_xs", "delta_s", "antipasto_gain"):
        add(store, variant, 200)
    assert not [line for line in how_to_read(only(store)) if "of its pair alone" in line]
    add(store, "eva", 206)
    section = only(store)
    verdict = next(v for i, v in section.verdicts.items() if section.arms[i].arm.variant == "eva")
    assert verdict.comparison.low > 0
    assert verdict.word == "no worse"
    assert (
        "An interval is of its pair alone, and a verdict is corrected for all 11 pairs: so an interval can leave out 0 "
        "where the verdict is neither better nor worse." in how_to_read(section)
    )


def test_what_has_nothing_to_train_is_no_trained_arm(store):
    add(store, "lora", 200)
    add(store, "dora", 280)
    add(store, "sspace", 100, seeds=2)
    assert [row.arm.variant for row in judged(only(store))] == ["dora"]
    assert answer(only(store))[0].endswith("right, dora r=16 is better.")


def test_words_are_explained_where_a_table_has_them(store):
    add(store, "lora", 200)
    add(store, "antipasto", 201, rotate_basis="V")
    said = dict(terms(only(store)))
    assert said["reference"] == "lora r=16, the arm that the others are judged against."
    assert "V (inputs), U (outputs)" in said["rotate_basis"]
    assert "forgets" not in said, "no loss on general text was measured"
