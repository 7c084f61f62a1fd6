"""Claims about the learning rates that a table shows: those that validation chose, and what was tried."""

import pytest
from recorded import failed, record

from antipasto_bench.analysis.sections import sections
from antipasto_bench.report.markdown import tried_line
from antipasto_bench.store.folders import Store
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import append

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


def shown_rates(store: Store) -> tuple[list[float | None], list[str]]:
    (section,) = sections(store)
    return sorted(arm.lr for arm in section.arms), [tried_line(rates) for rates in section.tried]


def test_a_rate_whose_run_diverged_drops_out(store):
    append(store.table, third_rate(store, "run"))
    assert shown_rates(store) == ([1e-2], ["- lora r=16, seed 0: 0.001: 40.0, **0.01: 60.0**"])


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
