"""Claims about the evidence in this repository: it is whole, README shows it, and it tells adapters apart."""

from pathlib import Path

import polars as pl
import pytest

from antipasto_bench.config import compose
from antipasto_bench.paths import Store
from antipasto_bench.report import BEGIN, END, render
from antipasto_bench.results import items_digest, read_table
from antipasto_bench.stats import accuracy_over_seeds

ROOT = Path(__file__).parents[2]
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


def test_readme_shows_what_the_results_say():
    page = (ROOT / "README.md").read_text()
    shown = page.partition(BEGIN)[2].partition(END)[0]
    assert shown.strip() == render(STORE).strip(), "README's table is not that of results/; run: just report"


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
