"""Claims about the sentences on chosen rates and diverged runs: where they are said, where not, and of which arms."""

import pytest
from recorded import failed, record
from small_runs import make, small, store_in

from antipasto_bench.analysis.choosing_notes import choosing_notes, diverged_notes, rows_of_diverged
from antipasto_bench.analysis.sections import Section, sections
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results", tmp_path / "outputs")


def add(store: Store, variant: str, valid: dict[float, float], best: float, seeds: int = 3, **given: object) -> None:
    """A family as a sweep leaves it: every rate on seed 0, the other seeds at the best."""
    for lr, accuracy in valid.items():
        append(store.table, record(store, variant, [0], fields={"valid_accuracy": accuracy}, lr=lr, **given))
    for seed in range(1, seeds):
        append(store.table, record(store, variant, [0, seed], lr=best, seed=seed, **given))


def add_diverged(store: Store, variant: str, by: str = "run", **given: object) -> None:
    append(store.table, failed(store, variant, "why", **given).model_copy(update={"failed_by": by}))


def only(store: Store) -> Section:
    (section,) = sections(store)
    return section


INNER = {1e-3: 0.1, 1e-2: 0.9, 1e-1: 0.2}


def test_arms_of_equal_tries_whose_best_rates_lie_within_their_grids_need_no_word(store):
    for variant in ("lora", "dora"):
        add(store, variant, INNER, 1e-2)
    append(store.table, record(store, "base", [0]))
    append(store.table, record(store, "sspace", [0]))  # is not trained, so has no rate to choose
    assert choosing_notes(only(store)) == []
    assert diverged_notes(only(store)) == []


def test_different_numbers_of_rates_are_said_with_their_arms(store):
    add(store, "lora", INNER, 1e-2)
    for variant in ("delora", "hra"):
        add(store, variant, {1e-4: 0.0} | INNER | {1.0: 0.1}, 1e-2)
    said = "The arms were tried at different numbers of learning rates, and more tries flatter: "
    assert choosing_notes(only(store)) == [f"{said}3 (lora r=16); 5 (delora r=16, hra r=16)."]
    append(store.table, record(store, "ia3", [0], lr=0.3))  # chose nothing: one try
    assert choosing_notes(only(store)) == [f"{said}1 (ia3); 3 (lora r=16); 5 (delora r=16, hra r=16)."]


def test_a_rate_that_diverged_was_a_try(store):
    add(store, "lora", INNER, 1e-2)
    add(store, "dora", {1e-3: 0.1, 1e-2: 0.9}, 1e-2)
    assert choosing_notes(only(store)) != []
    add_diverged(store, "dora", lr=1e-1)
    assert choosing_notes(only(store)) == [], "nor is 0.01 the highest that was tried"


def test_many_arms_are_counted_after_the_first_three(store):
    for rank in (2, 4, 8, 16, 32):
        add(store, "lora", INNER, 1e-2, rank=rank)
    add(store, "dora", INNER | {1.0: 0.1}, 1e-2)
    (note,) = choosing_notes(only(store))
    assert "3 (lora r=16, lora r=2, lora r=32 and 2 more); 4 (dora r=16)." in note


@pytest.mark.parametrize(
    ("valid", "best", "said"),
    [
        ({1e-3: 0.1, 1e-2: 0.9}, 1e-2, "0.01, is the highest that was tried: a higher one may be better."),
        ({1e-3: 0.9, 1e-2: 0.1}, 1e-3, "0.001, is the lowest that was tried: a lower one may be better."),
    ],
)
def test_a_best_rate_at_the_edge_of_its_grid_is_said(store, valid, best, said):
    add(store, "lora", valid, best)
    assert choosing_notes(only(store)) == [f"The best learning rate of lora r=16, {said}"]


def test_one_rate_has_no_edge(store):
    add(store, "lora", {1e-2: 0.5}, 1e-2)
    assert choosing_notes(only(store)) == []


def test_nothing_is_said_of_a_choice_that_is_not_made_yet(store):
    add(store, "lora", {1e-3: 0.1, 1e-2: 0.9}, 1e-2)
    add_diverged(store, "lora", by="machine", lr=1e-1)
    assert choosing_notes(only(store)) == []


def test_arms_that_are_scored_on_the_seed_that_chose_are_named(store):
    add(store, "lora", INNER, 1e-2)
    add(store, "dora", INNER, 1e-2, seeds=1)
    said = "chosen on the very seed that is scored, for want of others, which flatters:"
    assert choosing_notes(only(store)) == [f"Its learning rate was {said} dora r=16."]
    add(store, "hra", INNER, 1e-2, seeds=1)
    assert choosing_notes(only(store)) == [f"Their learning rates were {said} dora r=16, hra r=16."]


def test_an_arm_of_which_every_run_diverged_is_said_and_one_that_lost_a_part_is_not(store):
    append(store.table, record(store, "lora", [0], lr=1e-2))
    add_diverged(store, "lora", lr=1e-2, seed=1)
    for seed in range(3):
        add_diverged(store, "dora", lr=1.0, seed=seed)
    add_diverged(store, "ia3", lr=3.0)
    add_diverged(store, "hra", by="machine", lr=1.0)
    section = only(store)
    assert [arm.variant for arm in section.arms] == ["lora"]
    add_diverged(store, "lora", lr=5.0)
    section = only(store)
    assert diverged_notes(section) == [
        "dora r=16 lr=1: 3 of 3 runs diverged",
        "ia3 lr=3: 1 of 1 run diverged",
        "lora r=16 lr=5: 1 of 1 run diverged",
    ]
    rows = [(arm.name, len(arm.records)) for arm in rows_of_diverged(section)]
    assert rows == [("dora r=16", 3), ("ia3", 1)], "a rate beside another that has a result is no row"


@pytest.mark.slow
def test_a_training_that_diverged_was_a_try_that_is_said_and_never_chosen(tmp_path):
    """Real runs: one of them at a rate that no float32 survives."""
    store = store_in(tmp_path)
    for lr, status in ((1e-2, "ok"), (1e30, "failed")):
        assert make(small("lora", lr=lr), store).status == status
    section = only(store)
    assert [(arm.lr, arm.diverged, arm.scored_where_chosen) for arm in section.arms] == [(1e-2, 0, True)]
    assert diverged_notes(section) == ["lora r=16 lr=1e+30: 1 of 1 run diverged"]
    assert "The best learning rate of lora r=16, 0.01, is the lowest that was tried" in choosing_notes(section)[-1]
