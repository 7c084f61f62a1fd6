"""Claims about the evidence in this repository: it is whole, README shows it, and it tells adapters apart."""

import json
import shutil
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from statistics import fmean

import polars as pl
import pytest

import antipasto
from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.analysis.found_rates import FoundRates
from antipasto_bench.analysis.searched import searched_sections
from antipasto_bench.analysis.stats import summarise
from antipasto_bench.report.markdown import BEGIN, END
from antipasto_bench.report.write import write_report
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.spec.sweep import read_sweep
from antipasto_bench.store.folders import Store
from antipasto_bench.store.items import items_digest
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import read_records
from antipasto_bench.store.trials import read_trials

ROOT = Path(__file__).parents[3]
STORE = Store(ROOT / "results", ROOT / "outputs")
# The code of these commits, with data or a link beside it that git did not know, and that was called a change then.
BESIDE_DATA = {"10823174aa0cb2a6261d26c941432c7cb3efa1c9", "62b6c73b9ce6e646195674945e3e2962fbaf17f6"}


@pytest.fixture(scope="module")
def records() -> list[RunRecord]:
    return read_records(STORE.table)


def committed_protocol() -> str:
    """The protocol of the embedded model's table: that of most rows."""
    protocols = Counter(record.protocol for record in read_records(STORE.table) if not record.untuned)
    return protocols.most_common(1)[0][0]


def method(run: RunConfig) -> tuple[Hashable, ...]:
    """The variant with the settings that were swept; its other settings are the defaults of their day."""
    return run.variant, run.rank, run.adapter.get("rotate_basis"), run.adapter.get("road_variant")


def settings(run: RunConfig) -> tuple[Hashable, ...]:
    """All that tells apart the runs of the committed sweeps."""
    scored = run.model, run.eval.limit, run.eval.answer_limit, run.eval.valid == "none"
    return (*scored, *method(run), *((run.lr, run.steps, run.adapter_dtype) if run.trains else ()), run.seed)


def test_every_result_has_its_questions_and_they_give_its_accuracy(records):
    for record in (record for record in records if record.status == "ok"):
        items = pl.read_parquet(STORE.items(record.run_id))
        assert items_digest(items) == record.items_sha256
        headline = "flexible-extract" if record.config.eval.version == 1 else "given-answer"
        answers = items.filter((pl.col("split") == "test") & (pl.col("filter") == headline))
        assert answers["score"].mean() == pytest.approx(record.test_accuracy)
        assert answers.height == record.test_n


def test_a_clone_rebuilds_readme_drawings_and_page_byte_for_byte_from_results_alone(tmp_path):
    files = [p for p in STORE.results.rglob("*") if p.is_file() and p.suffix != ".lock"]
    rendered = [p for p in files if p.suffix in (".svg", ".html")]
    assert len(rendered) > 8
    for path in set(files) - set(rendered):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    pages = [ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "repeatability.md"]
    copies = [tmp_path / path.relative_to(ROOT) for path in pages]
    for page, copy in zip(pages, copies, strict=True):
        text = page.read_text()
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(f"{text.partition(BEGIN)[0]}{BEGIN}\n{END}{text.partition(END)[2]}")
    readme, whole, repeats = copies
    write_report(Store(tmp_path / "results", tmp_path / "outputs"), readme, whole, repeats=repeats)
    for path in [*rendered, *pages]:
        copy = tmp_path / path.relative_to(ROOT)
        assert copy.read_bytes() == path.read_bytes(), f"{path.name} is not what results/ say; run: just report"
    assert not set((tmp_path / "results/figures").iterdir()) - {tmp_path / p.relative_to(ROOT) for p in rendered}


@pytest.fixture(scope="module")
def section():
    """The table of the embedded model."""
    return next(each for each in compared_sections(STORE) if each.section.protocol == committed_protocol())


def test_three_axes_were_swept_with_three_seeds_at_every_value(section):
    axes = {ablation.axis: ablation for ablation in section.ablations}
    assert axes["rotate_basis"].series[0].values == ["V", "U", "both", "none"]
    assert len(axes["rank"].series) >= 3
    assert len(axes["lr"].series) >= 4
    for axis in ("rotate_basis", "rank", "lr"):
        made = {arm.seeds + (arm.chosen_on is not None) for arm in axes[axis].arms}  # one seed may have chosen its rate
        assert made == {3}, axis


def test_the_dtype_of_the_parameters_decides_nothing_between_lora_dora_and_antipasto(records):
    """As docs/protocols.md concludes of benchmark/sweeps/adapter_dtype.yaml: by more than its own noise in no arm."""
    for variant in ("lora", "dora", "antipasto"):
        means, default = {}, compose(variant, {}, "nano")
        for dtype in ("float32", "bfloat16"):
            rows = [
                record.test_accuracy
                for record in records
                if record.model == "nano"
                and record.config.eval.version == 3
                and (record.variant, record.config.adapter_dtype, record.lr) == (variant, dtype, default.lr)
                and record.rank == default.rank
                and record.config.adapter.get("rotate_basis", "V") == "V"
            ]
            assert len(rows) == 3
            means[dtype] = fmean(rows)
        assert abs(means["float32"] - means["bfloat16"]) < 0.05, means


def test_every_row_of_the_table_has_its_price(section):
    for arm in section.section.arms:
        for name in ("base_forward_ms", "base_backward_ms", "base_saved_bytes", "peak_bytes", "priced_tokens"):
            assert (arm.mean(name) or 0) > 0, (arm.label, name)
        if not arm.untuned:
            assert (arm.mean("forward_ms") or 0) > 0, arm.label
            assert (arm.mean("generated_tokens_per_s") or 0) > 0, arm.label


def test_the_embedded_benchmark_tells_adapters_apart(records):
    """lora beats antipasto, and antipasto the untuned model, each by more than two standard errors."""
    accuracy = {}
    for variant, seeds in (("lora", 3), ("antipasto", 3), ("base", 1)):
        columns = []
        for seed in range(seeds):
            wanted = settings(compose(variant, {"seed": seed}, "nano"))
            run_id = next(record.run_id for record in records if settings(record.config) == wanted)
            items = pl.read_parquet(STORE.items(run_id))
            given = items.filter((pl.col("split") == "test") & (pl.col("filter") == "given-answer"))
            columns.append(given.sort("doc_id")["score"].to_numpy())
        accuracy[variant] = summarise(columns)
    for better, worse in (("lora", "antipasto"), ("antipasto", "base")):
        difference = accuracy[better].mean - accuracy[worse].mean
        assert difference > 2 * (accuracy[better].stderr ** 2 + accuracy[worse].stderr ** 2) ** 0.5, accuracy


def test_the_preset_has_the_learning_rates_that_the_searches_found():
    searched = {}
    for run in read_sweep(ROOT / "benchmark/sweeps/nano.yaml").runs:
        if run.trains and (run.variant != "antipasto" or run.adapter["rotate_basis"] == "V"):
            searched[run.variant] = run.lr
    assert searched.keys() >= {name for name, each in antipasto.CONFIGS.items() if each.trains}
    assert searched == {variant: compose(variant, {}, "nano").lr for variant in searched}


def test_every_method_that_trains_learns_and_none_is_worse_than_the_untuned_model(section):
    arms = section.section.arms
    base = next(arm for arm in arms if arm.untuned)
    for arm in arms:
        if arm.lr is not None:
            assert arm.scores.mean() > 5 * base.scores.mean(), f"{arm.name} learns"
            assert arm.mean("test_loss") < base.mean("test_loss"), arm.name
        else:
            assert arm.scores.mean() > base.scores.mean() - 2 * base.first.test_stderr, arm.name


def test_every_committed_run_is_of_a_committed_sweep(records):
    swept = {settings(run) for path in (ROOT / "benchmark/sweeps").glob("*.yaml") for run in read_sweep(path).runs}
    assert {settings(record.config) for record in records} <= swept


def test_every_run_was_made_by_committed_code(records):
    states = {(record.provenance.git.commit, record.provenance.git.dirty) for record in records}
    assert {commit for commit, dirty in states if dirty is not False} <= BESIDE_DATA


def test_the_table_of_smollm2_is_whole(records):
    made = {settings(record.config) for record in records if record.status == "ok"}
    runs = read_sweep(ROOT / "benchmark/sweeps/smollm2.yaml").runs
    assert len(runs) == 43
    assert not [run.run_id for run in runs if settings(run) not in made]


def test_every_arm_had_as_many_trials_of_committed_code_on_seeds_that_no_result_has(records):
    trials = read_trials(STORE)
    sections = searched_sections(trials)
    assert len(sections) == 2, "the embedded model's and SmolLM2's"
    for section in sections:
        assert len({tuple(counts.items()) for counts in section.budgets().values()}) == 1, section.title
    states = {(trial.provenance.git.commit, trial.provenance.git.dirty) for trial in trials}
    assert {commit for commit, dirty in states if dirty is not False} <= BESIDE_DATA
    assert not {trial.seed for trial in trials} & {record.seed for record in records}


def test_every_method_of_the_table_has_three_seeds_at_the_rate_that_its_search_found(records):
    runs = read_sweep(ROOT / "benchmark/sweeps/nano.yaml").runs
    trained, runs_by_settings = [run for run in runs if run.trains], {settings(run): run for run in runs}
    assert {run.variant for run in trained} >= {name for name, each in antipasto.CONFIGS.items() if each.trains}
    assert len({run.variant for run in trained if run.variant.startswith("peft:")}) >= 10
    made = {settings(record.config) for record in records if record.status == "ok" and record.config.eval.version == 3}
    for run in runs:
        assert settings(run) in made, run.run_id
    seeds: dict[tuple[Hashable, ...], set[int]] = {}
    for run in trained:
        seeds.setdefault((*method(run), run.lr), set()).add(run.seed)
    assert set(map(frozenset, seeds.values())) == {frozenset({0, 1, 2})}
    found = FoundRates(read_trials(STORE), (record.config for record in records))
    for record in records:
        run = runs_by_settings.get(settings(record.config))
        if run is not None and run.trains:
            assert found.of(record)[:2] == (run.lr, 9), record.run_id


def test_nine_trials_find_a_rate_within_a_standard_error_of_the_best_of_the_table(section, records):
    """Accuracy of the whole runs at the rate that `tune` found and at the best one, by the same rules and seeds."""
    found = FoundRates(read_trials(STORE), (record.config for record in records))
    checked = []
    for arms in section.section.rates:
        rate = found.of(arms[0].first)
        if rate is None or rate.lr not in [arm.lr for arm in arms]:
            continue
        scores = {arm.lr: {record.seed: record for record in arm.records} for arm in arms}
        at_found = scores[rate.lr]
        for arm in arms:
            shared = scores[arm.lr].keys() & at_found.keys()
            behind = fmean(scores[arm.lr][seed].test_accuracy - at_found[seed].test_accuracy for seed in shared)
            assert behind < min(scores[arm.lr][seed].test_stderr for seed in shared), (arm.name, arm.lr)
        checked.append(arms[0].variant)
    assert {"lora", "lora_xs", "antipasto", "antipasto_arrow"} <= set(checked)


def test_the_page_of_the_library_tells_the_routing_example_as_it_was_measured():
    page = (ROOT / "docs/library.md").read_text()
    measured = json.loads((ROOT / "results/route_gradients.json").read_text())
    names = {"base": "untuned", "control": "control: trained on the wanted half alone"}
    for name in ("base", "routed", "routed, quarantine zeroed", "control"):
        cells = [
            f"{100 * s['accuracy']:.1f} ± {100 * s['stderr']:.1f} %"
            for s in (measured[name][half] for half in ("wanted", "unwanted"))
        ]
        assert f"| {names.get(name, name)} | {cells[0]} | {cells[1]} |" in page
    assert measured["provenance"]["git"]["dirty"] is False
