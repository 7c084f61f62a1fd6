"""Claims about recorded trials: damage is noticed, skipped and reported, and they are never among the results."""

import json

import pytest
from small_runs import store_in

from antipasto_bench.core.errors import Damaged, UserError
from antipasto_bench.core.provenance import GitState
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.tune import trial_config, trial_id
from antipasto_bench.store.checked_json import with_digest
from antipasto_bench.store.integrity import verify
from antipasto_bench.store.origins import Provenance
from antipasto_bench.store.table import read_records
from antipasto_bench.store.trials import TrialRecord, add_trial, read_trials


def recorded(lr=0.01, losses=((0, 0.5), (25, 0.3), (50, 0.2), (100, 0.1)), state="done"):
    run = trial_config(compose("lora", {"lr": lr, "seed": 1000, "steps": 100}, "nano"), {})
    origin = Provenance(git=GitState(commit="0" * 40, dirty=False), device="cpu", hardware="a processor", threads=1)
    return TrialRecord(
        trial_id=trial_id(run), state=state, model="nano", variant="lora", rank=16, lr=lr, seed=1000, protocol="0" * 8,
        steps=100, steps_made=losses[-1][0], losses=list(losses), seconds=1.0, finished_at="2026-01-01T00:00:00+00:00",
        config=run, provenance=origin,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return store_in(tmp_path)


def test_a_trial_is_read_as_it_was_written_and_is_no_result(store):
    add_trial(recorded(), store)
    assert read_trials(store) == [recorded()]
    assert read_records(store.table) == []
    assert verify(store) == []


def test_the_last_line_of_a_trial_counts(store):
    stopped = recorded(losses=((0, 0.5), (25, 0.3)), state="stopped")
    for record in (stopped, recorded(lr=0.02), recorded()):
        add_trial(record, store)
    assert read_trials(store) == [recorded(), recorded(lr=0.02)]


def test_a_flipped_digit_and_a_torn_line_are_skipped_reported_and_hide_no_other_trial(store):
    for lr in (0.01, 0.02, 0.03):
        add_trial(recorded(lr=lr), store)
    lines = store.trials.read_bytes().splitlines(keepends=True)
    lines[0] = lines[0].replace(b"0.3]", b"0.4]")
    store.trials.write_bytes(b"".join(lines)[:-20])
    with pytest.warns(Damaged) as said:
        assert [record.lr for record in read_trials(store)] == [0.02]
    skipped = [str(warning.message).partition(" skipped: ")[0] for warning in said]
    assert skipped == [f"tune/trials.ndjson, line {number}: not a whole trial;" for number in (1, 3)]
    assert [problem.partition(":")[0] for problem in verify(store)] == [
        "tune/trials.ndjson, line 1",
        "tune/trials.ndjson, line 3",
    ]
    with pytest.warns(UserWarning, match="the last line was cut short"):
        add_trial(recorded(lr=0.03), store)
    with pytest.warns(Damaged):
        assert [record.lr for record in read_trials(store)] == [0.02, 0.03]


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", 0.02), ("losses", [[0, 0.5], [30, 0.3]]), ("steps_made", 50), ("state", "stopped"), ("seed", 7)],
)
def test_a_trial_that_contradicts_its_config_is_reported(store, field, value):
    values = recorded().to_json() | {field: value}
    store.trials.parent.mkdir(parents=True)
    store.trials.write_text(json.dumps(with_digest(values)) + "\n")
    assert any("is not that of its config or its losses" in problem for problem in verify(store))


def test_a_trial_of_a_newer_version_is_no_damage(store):
    store.trials.parent.mkdir(parents=True)
    store.trials.write_text(json.dumps(with_digest(recorded().to_json() | {"schema": 2})) + "\n")
    with pytest.raises(UserError, match="update it"):
        read_trials(store)
