"""Claims about the list of quantities: it has every cost, and a place that shows one needs no more than an entry."""

import json
from dataclasses import replace

import pytest
from pydantic import BaseModel
from recorded import record

from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.report.columns import all_columns
from antipasto_bench.report.cost_text import card, cost_json, measured_line
from antipasto_bench.report.figures import axes, points_of
from antipasto_bench.report.page_columns import run_columns
from antipasto_bench.store.folders import Store
from antipasto_bench.store.quantities import (
    QUANTITIES,
    Axis,
    FromShapes,
    Phrase,
    Quantity,
    RunCard,
    RunList,
    TableColumn,
    quantity,
)
from antipasto_bench.store.record import Costs, RunRecord
from antipasto_bench.store.table import append


class Shapes(BaseModel):
    """As run.shape_costs.ShapeCosts."""

    variant: str = "lora"
    rank: int | None = 16
    model: str = "nano"
    trainable_params: int = 24_576
    added_macs_per_token: int = 500_000
    adapter_bytes: int = 98_304
    frozen_bytes: int = 64
    targets: int = 12
    base_params: int = 3_000_000
    base_macs_per_token: int = 2_000_000


MEASURED = Costs(
    forward_ms=30.0, base_forward_ms=20.0, base_backward_ms=25.0, peak_bytes=512_000_000, saved_bytes=12_300_000,
    base_saved_bytes=10_000_000, attach_cold_s=0.5, attach_warm_s=0.25, merge_s=0.001, generated_tokens_per_s=900.0,
    base_generated_tokens_per_s=1000.0, priced_tokens=1424,
)  # fmt: skip


def test_every_measured_cost_and_every_part_of_the_json_has_an_entry():
    listed = {name for entry in QUANTITIES if entry.cost_json for name in (entry.field, entry.base)}
    assert set(Costs.model_fields) <= listed
    keys = "variant rank model trainable_params added_macs_per_token adapter_bytes frozen_bytes targets base_params "
    keys = (keys + "base_macs_per_token").split()
    assert list(cost_json(Shapes())) == keys
    assert list(cost_json(Shapes(), MEASURED)) == [*keys, *Costs.model_fields]
    assert cost_json(Shapes(), MEASURED) == Shapes().model_dump() | MEASURED.model_dump()


def test_every_entry_names_fields_that_there_are_and_has_one_name():
    for entry in QUANTITIES:
        shown = (entry.column, entry.axis, entry.run_card, entry.run_list, entry.phrase)
        if any(place is not None for place in shown):
            assert hasattr(RunRecord, entry.field) or entry.field in RunRecord.model_fields, entry.field
        if entry.base is not None:
            assert entry.base in Costs.model_fields
        if entry.shapes is not None:
            assert {entry.shapes.field, entry.shapes.base or entry.shapes.field} <= set(Shapes.model_fields)
    for names in ([entry.field for entry in QUANTITIES], [entry.label for entry in QUANTITIES]):
        assert len(set(names)) == len(names)
    headers = [column.name for column in all_columns()]
    assert len(set(headers)) == len(headers)
    with pytest.raises(KeyError, match="wattage is no quantity"):
        quantity("wattage")


def test_costs_are_told_in_two_lines_with_their_ratios_to_the_base():
    shapes, measured = card(Shapes(), MEASURED).splitlines()
    assert shapes == (
        "lora r=16                       24,576 parameters      0.50M MACs/token (+25.0 %)      0.10 MB on disk  "
        "12 layers"
    )
    assert measured == (
        "    1,424 tokens: forward 30.0 (1.50x) ms, peak 512 MB, keeps 12.3 (1.23x) MB for backward, attach 0.50 s "
        "cold, 0.25 s warm, merge 1.0 ms, generates 900.0 (0.90x) tokens/s"
    )
    assert card(Shapes()) == shapes
    assert card(Shapes(), Costs()) == shapes
    assert measured_line(Costs(), untuned=False) == "not measured"


def test_the_untuned_model_is_told_by_its_own_measurements_without_a_ratio():
    line = measured_line(MEASURED, untuned=True)
    assert line.startswith("1,424 tokens: forward 20.0 ms, backward 25.0 ms, peak 512 MB, keeps 10.0 MB for backward")
    assert line.endswith("generates 1,000.0 tokens/s")


def run_cells(run: RunRecord, quantities=QUANTITIES) -> dict[str, str]:
    """What the page says of a run, by the whole name of each column."""
    return {column.json()["meaning"]: column.cell(run)[0] for column in run_columns([run], quantities)}


def test_the_page_has_the_columns_of_runs_that_some_run_has_a_value_for(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    old, new = record(store, "lora", [0, 1]), record(store, "dora", [0, 1], nats=[5.0] * 8)
    both = run_columns([old, new])
    assert [column.entry.field for column in both][:3] == ["test_accuracy", "test_strict", "test_loss"]
    assert {"test_loss", "valid_loss"}.isdisjoint(column.entry.field for column in run_columns([old]))
    assert [column.cell(new) for column in both if column.entry.field in ("test_accuracy", "test_loss")] == [
        ("25.0", 25.0),
        ("0.3704", new.test_loss),
    ]
    assert run_cells(new)["test loss"] == "0.3704"
    assert not any("loss" in label for label in run_cells(old))


def test_an_axis_takes_the_lower_for_the_better():
    with pytest.raises(ValueError, match="speed"):
        Quantity("speed", "speed", "tokens/s", "higher", axis=Axis())


class CostsOfACopy(Costs):
    energy_j: float | None = None
    base_energy_j: float | None = None


class RecordOfACopy(RunRecord, CostsOfACopy):
    """A record with one more cost."""


class ShapesOfACopy(Shapes):
    energy_bound_j: int = 7


ENERGY = Quantity(
    "energy_j", "energy, mJ", "J", "lower", scale=1e3, format=".1f", base="base_energy_j",
    column=TableColumn("costs", "mJ", "one batch, and the ratio to the base"),
    axis=Axis(), run_card=RunCard("energy, J", scale=1, format=".4f"), run_list=RunList("mJ", ".0f"),
    phrase=Phrase("takes {} mJ"), shapes=FromShapes("energy_bound_j", Phrase("{} J at least", scale=1, format="d")),
    cost_json=True,
)  # fmt: skip


def test_one_entry_is_a_column_an_axis_a_line_of_the_card_a_cell_words_and_a_key(tmp_path):
    copy = [*QUANTITIES, ENERGY]
    store = Store(tmp_path / "results", tmp_path / "outputs")
    append(store.table, record(store, "lora", [0, 1]))
    (section,) = compared_sections(store)
    (row,) = section.arms
    values = row.arm.first.to_json() | {"energy_j": 0.0125, "base_energy_j": 0.01}
    run = RecordOfACopy.model_validate_json(json.dumps(values))
    row = replace(row, arm=replace(row.arm, records=[run]))
    section = replace(section, section=replace(section.section, arms=[row.arm]))
    (row,) = section.arms

    names = [column.name for column in all_columns()]
    (column,) = [column for column in all_columns(copy) if column.name not in names]
    assert (column.name, column.meaning, column.table) == ("mJ", "one batch, and the ratio to the base", "costs")
    assert column.cell(row).text == "12.5 (1.25x)"
    assert column.cell(row).sort == 0.0125
    (axis,) = [entry for entry in axes(copy) if entry not in axes()]
    (point,) = points_of(section, [axis])
    assert (point.cost, point.value, point.frontier) == ("energy, mJ", 12.5, True)
    assert run_cells(run, copy).items() - run_cells(run).items() == {("energy, mJ", "12")}

    costs = CostsOfACopy(**MEASURED.model_dump(), energy_j=0.0125, base_energy_j=0.01)
    shapes, measured = card(ShapesOfACopy(), costs, copy).splitlines()
    assert shapes.endswith("12 layers  7 J at least")
    assert measured.endswith("tokens/s, takes 12.5 (1.25x) mJ")
    with_entry, without = cost_json(ShapesOfACopy(), costs, copy), cost_json(ShapesOfACopy(), costs)
    assert with_entry.items() - without.items() == {
        ("energy_bound_j", 7),
        ("energy_j", 0.0125),
        ("base_energy_j", 0.01),
    }
