"""Claims about costs that were measured before: once a setting, on one machine, by one code and on the same data."""

import polars as pl
import pytest
from small_runs import make, one_layer, small, store_in

from antipasto_bench.core import provenance
from antipasto_bench.core.provenance import installed_versions
from antipasto_bench.run import measured_costs, origin
from antipasto_bench.run.measured_costs import costs_origin
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.store.record import Costs
from antipasto_bench.store.table import find

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def measured(monkeypatch) -> list[str]:
    """The variants whose costs were measured, each in so many milliseconds as were measured before it."""
    variants: list[str] = []

    def measure(run, tokenizer, splits):
        variants.append(run.variant)
        return Costs(**dict.fromkeys(Costs.model_fields)).model_copy(update={"base_forward_ms": float(len(variants))})

    monkeypatch.setattr(measured_costs, "measure", measure)
    return variants


def priced(variant: str, **given: object):
    quick = {"model": one_layer(), "steps": 2, "eval.limit": 2, "eval.valid": "none"}
    return small(variant, **{"costs": True} | quick | given)


def made(run, store, **options):
    make(run, store, **options)
    return find(store.table, run.run_id)


def test_seeds_and_learning_rates_share_a_measurement_in_one_process_and_in_a_later_one(tmp_path, measured):
    store, models = store_in(tmp_path), ModelCache()
    first = made(priced("lora"), store, models=models)
    second = made(priced("lora", seed=1), store, models=models)
    later = made(priced("lora", seed=2, lr=3e-3, threads=1), store, models=ModelCache())
    assert measured == ["lora"]
    assert [record.base_forward_ms for record in (first, second, later)] == [1.0] * 3
    assert first.provenance.costs == second.provenance.costs == later.provenance.costs
    assert first.provenance.costs.measured_at <= later.finished_at
    assert first.provenance.costs.hardware == first.provenance.hardware
    assert made(priced("ia3"), store, models=models).base_forward_ms == 2.0, "another adapter costs something else"
    assert measured == ["lora", "ia3"]


@pytest.mark.parametrize("given", [{"threads": 2}, {"rank": 8}, {"batch_size": 2}])
def test_other_settings_are_measured_anew(given, tmp_path, measured):
    store = store_in(tmp_path)
    made(priced("lora"), store)
    assert made(priced("lora", seed=1, **given), store).base_forward_ms == 2.0


@pytest.mark.parametrize("what", ["code", "torch", "hardware"])
def test_another_code_library_or_machine_measures_anew(what, tmp_path, measured, monkeypatch):
    store = store_in(tmp_path)
    made(priced("lora"), store)
    if what == "code":
        monkeypatch.setattr(measured_costs, "versions", lambda: {"code": "another"})
    elif what == "torch":
        changed = installed_versions(provenance.PACKAGES) | {"torch": "9.9"}
        monkeypatch.setattr(provenance, "installed_versions", lambda packages: changed)
    else:
        monkeypatch.setattr(provenance, "_cpu_name", lambda: "another processor")
    assert made(priced("lora", seed=1), store).base_forward_ms == 2.0


def test_a_run_that_is_forced_measures_anew_and_its_measurement_is_the_one_that_later_runs_take(tmp_path, measured):
    store, models = store_in(tmp_path), ModelCache()
    made(priced("lora"), store, models=models)
    assert made(priced("lora"), store, models=models, force=True).base_forward_ms == 2.0
    assert made(priced("lora", seed=1), store, models=models).base_forward_ms == 2.0
    assert measured == ["lora", "lora"]


def test_a_measurement_that_failed_is_not_taken_over(tmp_path, monkeypatch):
    attempts = []

    def measure(run, tokenizer, splits):
        attempts.append(run.seed)
        return Costs()

    monkeypatch.setattr(measured_costs, "measure", measure)
    store, models = store_in(tmp_path), ModelCache()
    for seed in (0, 1):
        record = made(priced("lora", seed=seed), store, models=models)
        assert record.status == "ok"
        assert record.provenance.costs is None
    assert attempts == [0, 1]


@pytest.mark.parametrize("later", ["in one process", "in another process"])
def test_a_file_that_was_rewritten_is_measured_anew_under_the_same_settings(later, tmp_path, measured):
    rows, path = pl.read_parquet("benchmark/data/nano/train.parquet"), tmp_path / "train.parquet"
    store, models = store_in(tmp_path), ModelCache()
    given = {"data.train": str(path)}
    rows.head(100).write_parquet(path)
    first = made(priced("lora", **given), store, models=models)
    assert made(priced("lora", **given, seed=1), store, models=models).base_forward_ms == 1.0
    rows.tail(100).write_parquet(path)
    models = models if later == "in one process" else ModelCache()
    second = made(priced("lora", **given, seed=2, **{"eval.limit": 3}), store, models=models)
    assert first.config.cost_key == second.config.cost_key
    assert second.base_forward_ms == 2.0
    for record in (first, second):
        assert record.provenance.costs.train == record.provenance.data["train"].sha256
    assert first.provenance.costs.train != second.provenance.costs.train


def test_other_kernels_of_linear_attention_are_measured_anew(tmp_path, measured, monkeypatch):
    store = store_in(tmp_path)
    monkeypatch.setattr(origin, "has_linear_attention", lambda model: True)
    first = made(priced("lora"), store)
    assert made(priced("lora", seed=1), store).base_forward_ms == 1.0
    assert first.provenance.costs.kernels == {"flash-linear-attention": None, "causal-conv1d": None}
    real = provenance.installed_versions

    def with_kernels(packages):
        return {name: "9.9" if name == "causal-conv1d" else number for name, number in real(packages).items()}

    monkeypatch.setattr(provenance, "installed_versions", with_kernels)
    assert made(priced("lora", seed=2), store).base_forward_ms == 2.0


def test_of_a_quantised_base_the_packages_that_quantise_it_count_too():
    quantised = costs_origin(priced("lora", quant="4bit"), "digest", linear_attention=False).packages
    plain = costs_origin(priced("lora"), "digest", linear_attention=False).packages
    assert quantised.keys() - plain.keys() == {"bitsandbytes", "accelerate"}
