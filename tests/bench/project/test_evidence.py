"""Claims about the evidence in this repository: it is whole, README shows it, and it tells adapters apart."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

import antipasto
from antipasto_bench.analysis.compared_sections import studies
from antipasto_bench.analysis.stats import accuracy_over_seeds
from antipasto_bench.report.markdown import BEGIN, END
from antipasto_bench.report.write import publish
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.selection import chosen, family, family_of
from antipasto_bench.spec.sweep import read_sweep
from antipasto_bench.store.folders import Store
from antipasto_bench.store.items import items_digest
from antipasto_bench.store.table import read_table

ROOT = Path(__file__).parents[3]
STORE = Store(ROOT / "results", ROOT / "outputs")


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return read_table(STORE.table)


def test_every_result_has_its_questions_and_they_give_its_accuracy(table):
    for row in table.filter(pl.col("status") == "ok").iter_rows(named=True):
        items = pl.read_parquet(STORE.items(row["run_id"]))
        assert items_digest(items) == row["items_sha256"]
        flexible = items.filter((pl.col("split") == "test") & (pl.col("filter") == "flexible-extract"))
        assert flexible["score"].mean() == pytest.approx(row["test_accuracy"])
        assert flexible.height == row["test_n"]


def test_a_clone_rebuilds_readme_drawings_and_page_byte_for_byte_from_results_alone(tmp_path):
    files = [p for p in STORE.results.rglob("*") if p.is_file() and p.suffix != ".lock"]
    rendered = [p for p in files if p.suffix in (".svg", ".html")]
    assert len(rendered) > 8
    for path in set(files) - set(rendered):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    page = (ROOT / "README.md").read_text()
    head, tail = page.partition(BEGIN)[0], page.partition(END)[2]
    (tmp_path / "README.md").write_text(f"{head}{BEGIN}\n{END}{tail}")
    publish(Store(tmp_path / "results", tmp_path / "outputs"), tmp_path / "README.md")
    for path in [*rendered, ROOT / "README.md"]:
        copy = tmp_path / path.relative_to(ROOT)
        assert copy.read_bytes() == path.read_bytes(), f"{path.name} is not what results/ say; run: just report"
    assert not set((tmp_path / "results/figures").iterdir()) - {tmp_path / p.relative_to(ROOT) for p in rendered}


@pytest.fixture(scope="module")
def study():
    """The table of the embedded protocol."""
    protocol = compose("lora", {}, "nano").protocol
    return next(found for found in studies(STORE) if found.section.protocol == protocol)


def test_three_axes_were_swept_with_three_seeds_at_every_value(study):
    axes = {ablation.axis: ablation for ablation in study.ablations}
    assert axes["rotate_basis"].series[0].values == ["V", "U", "both", "none"]
    assert len(axes["rank"].series) >= 3
    assert len(axes["lr"].series) >= 4
    for axis in ("rotate_basis", "rank", "lr"):
        assert {len(arm.rows) for arm in axes[axis].arms} == {3}, axis


def test_every_row_of_the_table_has_its_price(study):
    for arm in study.section.arms:
        for name in ("base_forward_ms", "base_backward_ms", "base_saved_bytes", "peak_bytes", "priced_tokens"):
            assert (arm.mean(name) or 0) > 0, (arm.label, name)
        if arm.variant != "base":
            assert (arm.mean("forward_ms") or 0) > 0, arm.label
            assert (arm.mean("generated_tokens_per_s") or 0) > 0, arm.label


def test_the_embedded_benchmark_tells_adapters_apart():
    """lora beats antipasto, and antipasto the untuned model, each by more than two standard errors."""
    found = {}
    for variant, seeds in (("lora", 3), ("antipasto", 3), ("base", 1)):
        columns = []
        for seed in range(seeds):
            items = pl.read_parquet(STORE.items(compose(variant, {"seed": seed}, "nano").run_id))
            chosen = items.filter((pl.col("split") == "test") & (pl.col("filter") == "flexible-extract"))
            columns.append(chosen.sort("doc_id")["score"].to_numpy())
        found[variant] = accuracy_over_seeds(columns)
    for better, worse in (("lora", "antipasto"), ("antipasto", "base")):
        difference = found[better][0] - found[worse][0]
        assert difference > 2 * (found[better][1] ** 2 + found[worse][1] ** 2) ** 0.5, found


@pytest.fixture(scope="module")
def families(table) -> dict:
    """Of each variant with its settings: its rows of the embedded protocol, by learning rate."""
    protocol = compose("lora", {}, "nano").protocol
    found: dict = {}
    for row in table.filter((pl.col("status") == "ok") & (pl.col("protocol") == protocol)).iter_rows(named=True):
        if row["variant"] != "base":
            rates = found.setdefault(family(protocol, json.loads(row["config"])), {})
            rates.setdefault(row["lr"], []).append(row)
    return found


def chosen_rows(rates: dict) -> list[dict]:
    if len(rates) == 1:
        return next(iter(rates.values()))
    scores = {lr: {row["seed"]: row["valid_accuracy"] for row in rows} for lr, rows in rates.items()}
    return rates[chosen(scores)]


def test_every_variant_was_tried_at_three_rates_or_more_and_has_three_seeds_at_the_best(families):
    assert {name for _, name, *_ in families} == set(antipasto.CONFIGS)
    for (_, name, *_), rates in families.items():
        assert len(rates) >= 3 or not antipasto.REGISTRY[name].trains, name
        assert {row["seed"] for row in chosen_rows(rates)} == {0, 1, 2}, name


def test_the_preset_has_the_learning_rates_that_were_chosen(families):
    for name in antipasto.CONFIGS:
        if antipasto.REGISTRY[name].trains:
            run = compose(name, {}, "nano")
            assert run.lr == chosen_rows(families[family_of(run)])[0]["lr"], name


def test_no_variant_that_trains_is_worse_than_the_untuned_model(families, table):
    base = table.filter(pl.col("run_id") == compose("base", {}, "nano").run_id).row(0, named=True)
    for (_, name, *_), rates in families.items():
        rows = chosen_rows(rates)
        mean = sum(row["test_accuracy"] for row in rows) / len(rows)
        assert mean > base["test_accuracy"] - 2 * (base["test_stderr"] + rows[0]["test_stderr"]), name
        if antipasto.REGISTRY[name].trains:
            assert mean > 5 * base["test_accuracy"], f"{name} learns"


def test_every_committed_run_is_of_a_committed_sweep(table):
    asked = {run.run_id for path in (ROOT / "benchmark/sweeps").glob("*.yaml") for run in read_sweep(path).runs}
    assert set(table["run_id"]) <= asked


def test_readme_tells_the_routing_example_as_it_was_measured():
    page = (ROOT / "README.md").read_text()
    found = json.loads((ROOT / "results/route_gradients.json").read_text())
    names = {"base": "untuned", "control": "control: trained on the wanted half alone"}
    for name in ("base", "routed", "routed, quarantine zeroed", "control"):
        cells = [
            f"{100 * s['accuracy']:.1f} ± {100 * s['stderr']:.1f} %"
            for s in (found[name][half] for half in ("wanted", "unwanted"))
        ]
        assert f"| {names.get(name, name)} | {cells[0]} | {cells[1]} |" in page
    assert found["provenance"]["git"]["dirty"] is False
