"""Claims about measured costs: what is counted, where it is measured, and that no run is lost over it."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from command import QUICK, bench, row_of
from small_runs import make, small, store_in

from antipasto_bench.core.errors import UserError
from antipasto_bench.report.cost_text import card
from antipasto_bench.run.costs import bytes_saved_for_backward, measure, measure_here
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.examples import drawn_examples
from antipasto_bench.run.measured_costs import costs_origin, measure_alone
from antipasto_bench.run.model_cache import MeasuredCosts
from antipasto_bench.run.models import load_model, load_tokenizer
from antipasto_bench.run.remeasure import remeasure_costs
from antipasto_bench.run.shape_costs import ShapeCosts
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.store.folders import Store
from antipasto_bench.store.record import Costs
from antipasto_bench.store.table import read_records

PRICED = [word for word in QUICK if word != "costs=false"]


def test_bytes_saved_for_backward_are_each_storage_once_and_no_tensor_of_the_model():
    x = torch.randn(100, 64, requires_grad=True)
    W = torch.nn.Parameter(torch.randn(64, 32))
    assert bytes_saved_for_backward(lambda: x.exp()) == 4 * 100 * 64, "exp keeps its result"
    assert bytes_saved_for_backward(lambda: x @ W, [W]) == 4 * 100 * 64, (
        "a product keeps its input, and W is the model's"
    )
    assert bytes_saved_for_backward(lambda: x @ W) == 4 * (100 * 64 + 64 * 32)
    assert bytes_saved_for_backward(lambda: (x @ W, x[:50] @ W), [W]) == 4 * 100 * 64, "views share their storage"
    assert bytes_saved_for_backward(lambda: x.detach().exp()) == 0


def test_a_sparse_tensor_that_is_saved_counts_with_its_places_and_its_values():
    places, values = torch.tensor([[0, 1, 3], [2, 0, 4]]), torch.randn(3, requires_grad=True)
    x = torch.nn.Parameter(torch.randn(5, 2))
    A = torch.sparse_coo_tensor(places, values, (4, 5), check_invariants=True).coalesce()
    assert bytes_saved_for_backward(lambda: torch.sparse.mm(A, x), [x]) == 3 * (2 * 8 + 4)
    assert bytes_saved_for_backward(lambda: torch.sparse.mm(A, x), [A, x]) == 0


def test_costs_of_a_tuner_that_trains_a_sparse_update_are_measured():
    run = compose("peft:shira", {"targets": "q_proj", "batch_size": 2}, "nano")
    costs = measure_alone(run).costs
    assert costs.saved_bytes > costs.base_saved_bytes > 0
    assert costs.forward_ms > 0


GROWING = """
import torch
from antipasto_bench.run.costs import peak_bytes
model = torch.nn.Linear(2, 2)
before = peak_bytes(model.weight.device)
ballast = torch.ones(300_000_000 // 4)
grown = peak_bytes(model.weight.device)
del ballast
print(before, grown, peak_bytes(model.weight.device))
"""


def test_the_peak_is_a_high_water_mark():
    done = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True, check=True)
    before, grown, after = map(int, done.stdout.split())
    assert 250e6 < grown - before < 400e6
    assert after > 0.99 * grown


@pytest.mark.long
@pytest.mark.slow
def test_what_the_asking_process_holds_is_not_counted():
    run = compose("lora", {"data.calibration": 4}, "nano")
    ballast = torch.ones(1_500_000_000 // 4)
    costs = measure(run, load_tokenizer(run), load_splits(run.data, run.eval))
    assert len(ballast)
    assert 100e6 < costs.peak_bytes < 1.4e9
    assert costs.saved_bytes > costs.base_saved_bytes > 0
    assert all(value > 0 for value in costs.model_dump().values())


def measured_in_this_process(run: RunConfig) -> Costs:
    return measure_here(run, drawn_examples(run, load_tokenizer(run), load_splits(run.data, run.eval)))


@pytest.mark.slow
@pytest.mark.long
def test_a_variant_that_trains_nothing_or_cannot_merge_has_no_such_costs():
    costs = measured_in_this_process(compose("sspace", {"data.calibration": 16}, "nano"))
    assert costs.backward_ms is costs.saved_bytes is costs.merge_s is None
    assert costs.forward_ms > 0
    assert costs.base_backward_ms > 0
    base = measured_in_this_process(compose("base", {}, "nano"))
    assert base.forward_ms is base.attach_cold_s is base.generated_tokens_per_s is None
    assert base.base_saved_bytes == costs.base_saved_bytes, "the floor is the same beside any variant"


def test_a_measurement_that_fails_is_a_warning_and_no_cost(monkeypatch):
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.warns(UserWarning, match="costs of lora are not measured: exit code 1"):
        assert measure_alone(compose("lora", {}, "nano")).costs == Costs()


@pytest.mark.slow
def test_a_run_whose_costs_cannot_be_measured_is_recorded_without_them(monkeypatch, tmp_path):
    refusing = tmp_path / "python"
    refusing.write_text("#!/bin/sh\necho 'error: device=cuda: not available here' >&2\nexit 2\n")
    refusing.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(refusing))
    given = {"steps": 2, "batch_size": 2, "eval.limit": 2, "eval.valid_limit": 2, "eval.general": "none"}
    store = Store(tmp_path / "results", tmp_path / "outputs")
    with pytest.warns(UserWarning, match="costs of lora are not measured: device=cuda"):
        outcome = make(compose("lora", given, "nano"), store)
    assert outcome.status == "ok"
    assert outcome.record.forward_ms is None
    before = store.table.read_bytes()
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.warns(UserWarning, match="exit code 1"), pytest.raises(UserError, match="the row is as it was"):
        list(remeasure_costs([outcome.run_id], store))
    assert store.table.read_bytes() == before


def test_costs_that_cannot_be_measured_keep_no_other_run_from_its_own(tmp_path, monkeypatch):
    store = store_in(tmp_path)
    lora, ia3 = (make(small(variant), store).run_id for variant in ("lora", "ia3"))

    def measured(run):
        costs = Costs(**dict.fromkeys(Costs.model_fields))
        costs.forward_ms, costs.base_forward_ms = (None, None) if run.variant == "lora" else (30.0, 20.0)
        return MeasuredCosts(costs, costs_origin(run, "", False))

    monkeypatch.setattr("antipasto_bench.run.remeasure.measure_alone", measured)
    monkeypatch.setattr("antipasto_bench.run.remeasure.check_digest", lambda *arguments: None)
    done = []
    with pytest.raises(UserError, match=rf"^{lora}: costs could not be measured"):
        done.extend(record.run_id for record in remeasure_costs([lora, ia3], store))
    assert done == [ia3]
    assert {r.run_id: r.forward_ms for r in read_records(store.table)} == {lora: None, ia3: 30.0}


def test_whether_costs_are_measured_is_no_part_of_a_runs_identity():
    assert compose("lora", {"costs": False}, "nano").run_id == compose("lora", {}, "nano").run_id


@pytest.mark.long
@pytest.mark.slow
def test_a_run_records_its_costs_and_they_can_be_measured_again_without_its_files(tmp_path):
    row = row_of(bench("run", "antipasto", "lr=5e-2", *PRICED, "--json", cwd=tmp_path))
    assert Costs.model_fields.keys() <= row.keys()
    assert all(row[name] > 0 for name in Costs.model_fields)
    shutil.rmtree(tmp_path / "outputs")
    said = bench("measure", row["run_id"], "--costs", cwd=tmp_path).stdout
    assert "ms, backward" in said
    again = json.loads(bench("list", "--json", cwd=tmp_path).stdout)
    assert again["saved_bytes"] == row["saved_bytes"]
    assert again["test_accuracy"] == row["test_accuracy"]
    assert {"git", "hardware", "threads"} <= again["provenance"]["costs"].keys()
    assert "leave out --general" in bench("measure", "x", "--costs", "--general", "y", cwd=tmp_path, expect=2).stderr
    assert "no run 'lore'" in bench("measure", "lore", "--costs", cwd=tmp_path, expect=2).stderr


@pytest.mark.slow
@pytest.mark.long
def test_the_command_measures_where_it_is_asked(tmp_path):
    said = bench("cost", "lora,antipasto", "--preset", "nano", "--json", cwd=tmp_path).stdout
    lora, ours = map(json.loads, said.splitlines())
    assert lora["forward_ms"] > 0
    assert ours["forward_ms"] > 0
    assert ours["trainable_params"] > 0
    assert "layers" in bench("cost", "lora", "rank=2000", "--preset", "nano", cwd=tmp_path, expect=2).stderr
    text = card_of(ours)
    assert f"({ours['forward_ms'] / ours['base_forward_ms']:.2f}x) ms, backward" in text
    assert "x) MB for backward" in text
    of_base = {name: lora[name] for name in Costs.model_fields if name.startswith("base_")}
    assert of_base["base_forward_ms"] > 0
    assert "x)" not in card_of(
        dict.fromkeys(Costs.model_fields) | {n: lora[n] for n in ShapeCosts.model_fields} | of_base
    )


def card_of(line: dict) -> str:
    """The text that stands for a line of JSON."""
    shapes = ShapeCosts(**{name: line[name] for name in ShapeCosts.model_fields})
    return card(shapes, Costs(**{name: line[name] for name in Costs.model_fields}))


def test_a_model_is_loaded_with_a_tokenizer_that_pads():
    model, tokenizer = load_model(compose("base", {}, "nano"))
    assert tokenizer.pad_token_id is not None
    assert not model.training
