"""Claims about the arms that a table shows: at the rates that validation chose, on other seeds, with what diverged."""

import shutil

import pytest
from recorded import failed, record

from antipasto_bench.analysis.arms import Arm
from antipasto_bench.analysis.choosing_notes import choosing_notes
from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.analysis.found_rates import protocol_of_any_length
from antipasto_bench.analysis.sections import sections
from antipasto_bench.core.provenance import GitState
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.report.beforehand import before_the_table
from antipasto_bench.report.markdown import tried_line
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.tune import trial_config, trial_id
from antipasto_bench.store.folders import Store
from antipasto_bench.store.origins import DataDigest, Provenance
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import append
from antipasto_bench.store.trials import TrialRecord, add_trial

RATES = {1e-3: 0.4, 1e-2: 0.6}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for lr, valid in RATES.items():
        append(store.table, record(store, "lora", [0, 1], fields={"valid_accuracy": valid}, lr=lr))
    return store


def third_rate(store: Store, by: str) -> RunRecord:
    lost = failed(store, "lora", "out of memory: CUDA out of memory", lr=1e-1)
    lost.failed_by = by
    return lost


def diverged(store: Store, variant: str = "lora", **given: object) -> RunRecord:
    lost = failed(store, variant, "the loss is nan at step 3 of 300 (lr 1)", **given)
    lost.failed_by = "run"
    return lost


def only_arm(store: Store) -> Arm:
    (section,) = sections(store)
    (arm,) = section.arms
    return arm


def seeds_of(arm: Arm) -> list[int | None]:
    return [record.seed for record in arm.records]


def shown_rates(store: Store) -> tuple[list[float | None], list[str]]:
    (section,) = sections(store)
    return sorted(arm.lr for arm in section.arms), [tried_line(rates) for rates in section.tried]


def test_a_rate_whose_run_diverged_is_not_chosen_and_is_listed(store):
    append(store.table, third_rate(store, "run"))
    assert shown_rates(store) == ([1e-2], ["- lora r=16, seed 0: 0.001: 40.0, **0.01: 60.0**, 0.1: diverged"])


def test_no_rate_is_chosen_while_the_machine_owes_one_a_result_and_the_report_says_so(store):
    append(store.table, third_rate(store, "machine"))
    lost = "0.1: no result, its run failed on the machine (out of memory: CUDA out of memory)"
    line = f"- lora r=16, seed 0: 0.001: 40.0, 0.01: 60.0, {lost}; no rate is chosen until it has one"
    assert shown_rates(store) == ([1e-3, 1e-2], [line])


def test_a_rate_that_was_not_validated_has_no_number(store):
    append(store.table, record(store, "lora", [0, 1], fields={"valid_accuracy": None}, lr=1e-1))
    assert shown_rates(store) == ([1e-2], ["- lora r=16, seed 0: 0.001: 40.0, **0.01: 60.0**, 0.1: not validated"])


def test_a_rate_that_was_made_again_is_chosen_among_the_others(store):
    append(store.table, third_rate(store, "machine"))
    append(store.table, record(store, "lora", [0, 1], fields={"valid_accuracy": 0.7}, lr=1e-1))
    rates, (line,) = shown_rates(store)
    assert rates == [1e-1]
    assert line.endswith("**0.1: 70.0**")


def test_the_seed_that_chose_a_rate_is_not_averaged_at_it(store):
    for seed, right in ((1, [0]), (2, [0, 1, 2, 3])):
        append(store.table, record(store, "lora", right, lr=1e-2, seed=seed))
    arm = only_arm(store)
    assert (seeds_of(arm), arm.chosen_on, arm.scored_where_chosen) == ([1, 2], 0, False)
    assert arm.scores.mean() == pytest.approx((1 + 4) / 16)
    (section,) = sections(store)
    assert len(section.records) == 4, "all of them are the table's runs"


def test_where_every_rate_has_every_seed_the_lowest_chooses_and_the_others_are_averaged(store):
    for seed, values in ((1, (0.9, 0.1)), (2, (0.9, 0.1))):
        for lr, valid in zip(RATES, values, strict=True):
            append(store.table, record(store, "lora", [0], fields={"valid_accuracy": valid}, lr=lr, seed=seed))
    arm = only_arm(store)
    assert (arm.lr, seeds_of(arm), arm.chosen_on) == (1e-2, [1, 2], 0), "by the mean over all seeds it were 0.001"


def test_an_arm_without_another_seed_keeps_the_one_that_chose_it_and_is_marked(store):
    arm = only_arm(store)
    assert (seeds_of(arm), arm.chosen_on, arm.scored_where_chosen) == ([0], 0, True)


def test_an_arm_of_one_rate_chose_nothing_and_has_all_its_seeds(tmp_path):
    store = Store(tmp_path / "single", tmp_path / "outputs")
    for seed in range(3):
        append(store.table, record(store, "lora", [0], seed=seed))
    arm = only_arm(store)
    assert (seeds_of(arm), arm.chosen_on, arm.scored_where_chosen) == ([0, 1, 2], None, False)


VALID, TRAIN = "a" * 64, "c" * 64  # digests of the validation questions and of the training rows


def search(store: Store, losses: dict[float, float], valid: str = VALID, train: str = TRAIN, **given: object) -> None:
    """Record trials of lora that reached their end: the held-out loss of each rate."""
    for lr, loss in losses.items():
        run = trial_config(compose("lora", {"lr": lr, "seed": 1000} | given, "nano"), {})
        steps = (0, run.steps // 4, run.steps // 2, run.steps)
        origin = Provenance(git=GitState(commit="0" * 40, dirty=False), device="cpu", hardware="a processor", threads=1)
        origin.data = {name: DataDigest(rows=200, sha256=own) for name, own in (("valid", valid), ("train", train))}
        trial = TrialRecord(
            trial_id=trial_id(run), state="done", model="nano", variant="lora", rank=16, lr=lr, seed=1000,
            protocol="0" * 8, steps=run.steps, steps_made=run.steps, losses=[(step, loss) for step in steps],
            seconds=1.0, finished_at="2026-01-01T00:00:00+00:00", config=run, provenance=origin,
        )  # fmt: skip
        add_trial(trial, store)


def validated(store: Store, lr: float, seed: int, accuracy: float) -> RunRecord:
    made = record(store, "lora", [0], fields={"valid_accuracy": accuracy}, lr=lr, seed=seed)
    made.provenance.data = {
        name: DataDigest(rows=200, sha256=own) for name, own in (("valid", VALID), ("train", TRAIN))
    }
    return made


LOSSES = {5e-4: 0.3, 1e-3: 0.1, 2e-3: 0.2}
FOUND, BY_VALIDATION = (1e-3, [0, 1], None), (1e-2, [1], 0)


@pytest.mark.parametrize(
    ("losses", "given", "shown"),
    [
        (LOSSES, {}, FOUND),
        (LOSSES, {"data.calibration": 8}, FOUND),  # lora looks at no data
        (LOSSES, {"valid": "b" * 64}, BY_VALIDATION),
        (LOSSES, {"train": "b" * 64}, BY_VALIDATION),
        (LOSSES, {"rank": 4}, BY_VALIDATION),
        (LOSSES, {"batch_size": 4}, BY_VALIDATION),
        (LOSSES, {"steps": 100}, BY_VALIDATION),
        ({1e-3: 0.1}, {}, BY_VALIDATION),
        ({1e-3: 0.3, 5e-3: 0.1}, {}, BY_VALIDATION),  # no run was made at the rate that was found
    ],
)
def test_the_rate_that_a_search_found_is_shown_over_all_seeds_unless_the_search_is_of_something_else(
    tmp_path, losses, given, shown
):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for seed in (0, 1):
        for lr, accuracy in RATES.items():
            append(store.table, validated(store, lr, seed, accuracy))
    search(store, losses, **given)
    arm = only_arm(store)
    assert (arm.lr, seeds_of(arm), arm.chosen_on) == shown
    if shown == FOUND:
        (line,) = shown_rates(store)[1]
        found = "0.001 is what 3 trials of `tune` on other seeds found by held-out loss"
        assert line == f"- lora r=16, seed 0: **0.001: 40.0**, 0.01: 60.0; {found}"
        assert not choosing_notes(sections(store)[0]), "0.001 is the lowest here, and not where it was found"


def test_a_search_is_of_its_data_files_in_whatever_folder_a_run_had_them():
    """What they hold is compared by digest."""
    here, there, other = (
        protocol_of_any_length(trial_config(compose("lora", {"data.train": name}, "nano"), {}))
        for name in ("rows.jsonl", "folder/rows.jsonl", "others.jsonl")
    )
    assert here == there != other


def test_more_seeds_where_validation_chose_say_more_than_fewer_at_the_rate_that_was_found(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    append(store.table, validated(store, 1e-3, 0, 0.4))
    for seed in range(3):
        append(store.table, validated(store, 1e-2, seed, 0.6))
    search(store, LOSSES)
    arm = only_arm(store)
    assert (arm.lr, seeds_of(arm), arm.chosen_on) == (1e-2, [1, 2], 0)


def test_a_seed_that_the_search_had_is_not_averaged_at_the_rate_that_it_found(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for seed in (0, 1, 1000):
        append(store.table, validated(store, 1e-3, seed, 0.4))
    search(store, LOSSES)
    assert seeds_of(only_arm(store)) == [0, 1]


def test_a_found_rate_at_the_edge_of_its_search_is_said_and_an_arm_that_was_searched_is_no_single_try(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for seed in (0, 1):
        append(store.table, validated(store, 1e-3, seed, 0.4))
        for lr in RATES:
            append(store.table, record(store, "dora", [0], lr=lr, seed=seed))
    search(store, {1e-3: 0.1, 2e-3: 0.2})
    (section,) = sections(store)
    notes = " ".join(choosing_notes(section))
    assert "found their lowest or highest rate to be best, and one beyond may be better: lora r=16." in notes
    (compared,) = compared_sections(store)
    assert not any("not searched" in said for said in before_the_table(compared)), "and both were chosen"
    append(store.table, record(store, "hra", [0]))
    (compared,) = compared_sections(store)
    assert "The learning rate of hra r=16 was not searched: at another one it can do better." in before_the_table(
        compared
    )
    assert "different numbers" not in notes, "dora was chosen among two, lora by its search"


def test_learning_rates_as_an_axis_have_all_their_seeds(store):
    """Among them nothing is chosen."""
    for seed in (1, 2):
        for lr in RATES:
            append(store.table, record(store, "lora", [seed], lr=lr, seed=seed))
    (section,) = compared_sections(store)
    (rates,) = section.section.rates
    assert [(arm.lr, seeds_of(arm), arm.chosen_on) for arm in rates] == [(lr, [0, 1, 2], None) for lr in RATES]
    (axis,) = section.ablations
    assert "(n = 8, 3 seeds." in axis.conclusion()


def test_a_run_that_diverged_is_a_row_of_an_arm_with_nothing_right(tmp_path):
    store = Store(tmp_path / "one", tmp_path / "outputs")
    nats = [1.0] * 8
    append(store.table, record(store, "lora", [0, 1, 2, 3], nats=nats, fields={"forward_ms": 2.0}, seed=0))
    assert only_arm(store).losses is not None
    for seed in (1, 2):
        append(store.table, diverged(store, seed=seed))
    arm = only_arm(store)
    assert (arm.seeds, arm.diverged, seeds_of(arm)) == (3, 2, [0])
    assert arm.scores.tolist() == [[1, 1, 1, 1, 0, 0, 0, 0], [0] * 8, [0] * 8]
    assert arm.valid.shape == (3, 8)
    assert arm.valid[1:].sum() == 0
    assert arm.losses is None, "a run that is not finite has no loss to average"
    assert arm.mean("forward_ms") == 2.0, "costs are those of the runs that have them"


def test_a_run_that_the_machine_failed_is_no_row(tmp_path):
    store = Store(tmp_path / "one", tmp_path / "outputs")
    append(store.table, record(store, "lora", [0], seed=0))
    lost = failed(store, "lora", "out of memory", seed=1)
    lost.failed_by = "machine"
    append(store.table, lost)
    assert (only_arm(store).seeds, only_arm(store).diverged) == (1, 0)


def test_a_diverged_run_that_was_made_later_is_done_under_any_name_of_its_models_folder(tmp_path):
    store = Store(tmp_path / "one", tmp_path / "outputs")
    append(store.table, record(store, "lora", [0], seed=0))
    append(store.table, diverged(store, seed=1))
    assert only_arm(store).diverged == 1
    append(store.table, diverged(store, seed=1, model=str(shutil.copytree(MODEL_DIR, tmp_path / "zwei"))))
    assert only_arm(store).diverged == 1, "one run, whose model lies in two folders"
    again = record(store, "lora", [1], seed=1, model=str(shutil.copytree(MODEL_DIR, tmp_path / "drei")))
    append(store.table, again)
    assert (only_arm(store).diverged, seeds_of(only_arm(store))) == (0, [0, 1])


def test_what_diverged_at_a_chosen_rate_counts_but_for_the_seed_that_chose(store):
    append(store.table, record(store, "lora", [0, 1], lr=1e-2, seed=1))
    append(store.table, diverged(store, lr=1e-2, seed=2))
    append(store.table, diverged(store, lr=1e-3, seed=1))
    arm = only_arm(store)
    assert (arm.lr, seeds_of(arm), arm.diverged, arm.chosen_on) == (1e-2, [1], 1, 0)
    assert arm.scores.mean() == pytest.approx(2 / 16)


def test_an_arm_whose_other_seeds_all_diverged_keeps_the_seed_that_chose_beside_them(store):
    append(store.table, diverged(store, lr=1e-2, seed=1))
    arm = only_arm(store)
    assert (seeds_of(arm), arm.diverged, arm.scored_where_chosen) == ([0], 1, True)


def test_a_protocol_of_which_every_run_diverged_has_a_table_where_the_untuned_model_has_one(tmp_path):
    store = Store(tmp_path / "one", tmp_path / "outputs")
    append(store.table, record(store, "base", [0]))
    append(store.table, diverged(store))
    (section,) = sections(store)
    assert [arm.variant for arm in section.arms] == ["base"]
    assert [run.variant for run in section.diverged] == ["lora"]
