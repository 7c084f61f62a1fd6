"""Claims about swept axes: which are found, what is compared within them, and what is said of them."""

import altair as alt
import pytest
from recorded import record

import antipasto
from antipasto_bench.analysis.ablations import Ablation
from antipasto_bench.analysis.compare import compare_two
from antipasto_bench.analysis.compared_sections import ComparedSection, compared_sections
from antipasto_bench.report.figures import (
    FROZEN,
    axes,
    drawings,
    pareto,
    points_of,
)
from antipasto_bench.report.rendering import svg
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

EASY = list(range(300))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def add(store, variant, count, seeds=3, **given):
    for seed in range(seeds):
        append(store.table, record(store, variant, EASY[: count + seed], n=300, seed=seed, **given))


def only(store) -> ComparedSection:
    (section,) = compared_sections(store)
    return section


def by_axis(section) -> dict[str, Ablation]:
    return {each.axis: each for each in section.ablations}


def test_arms_that_differ_in_one_setting_alone_make_an_axis_of_it(store):
    for basis, count in (("V", 200), ("U", 201), ("both", 202), ("none", 90)):
        add(store, "antipasto", count, rotate_basis=basis)
    add(store, "antipasto", 150, rotate_basis="V", rank=8)
    add(store, "lora", 250)
    add(store, "lora", 120, rank=4, alpha=8)
    add(store, "dora", 251)
    section = only(store)
    swept = by_axis(section)
    assert list(swept) == ["rotate_basis", "rank"]
    (series,) = swept["rotate_basis"].series
    assert series.values == ["V", "U", "both", "none"]
    assert series.name == "antipasto r=64"
    ranks = {series.name: series.values for series in swept["rank"].series}
    assert ranks == {"antipasto rotate_basis=V": [8, 64], "lora": [4, 16]}, "alpha may follow the rank"
    assert len(swept["rank"].pairs.conclusive) == 2, "only pairs within a series are compared"
    assert len(swept["rotate_basis"].pairs.conclusive) == 6
    text = swept["rotate_basis"].conclusion()
    assert text.startswith("antipasto r=64: rotate_basis both beats none; U beats none; V beats none; no other two")
    assert "n = 300, 3 seeds" in text
    assert "corrected for 6 comparisons" in text
    assert swept["rotate_basis"].pairs.smallest < section.accuracy.smallest, "fewer pairs, smaller differences"


def test_settings_of_training_that_tell_arms_apart_are_axes_and_words_of_their_names(store):
    for dtype, count in (("float32", 200), ("bfloat16", 150)):
        add(store, "lora", count, adapter_dtype=dtype)
        add(store, "hra", count, adapter_dtype=dtype)
    add(store, "lora", 240, lr_ratio=16.0)
    section = only(store)
    assert {each.arm.name for each in section.arms} == {
        "lora r=16", "lora adapter_dtype=bfloat16 r=16",
        "lora lr_ratio=16 r=16", "hra r=16",
        "hra adapter_dtype=bfloat16 r=16",
    }  # fmt: skip
    swept = by_axis(section)
    assert list(swept) == ["adapter_dtype", "lr_ratio"]
    series = {each.name: each.values for each in swept["adapter_dtype"].series}
    assert series == {"hra r=16": ["bfloat16", "float32"], "lora r=16": ["bfloat16", "float32"]}
    assert [each.values for each in swept["lr_ratio"].series] == [[1.0, 16.0]]
    assert "adapter_dtype float32 beats bfloat16" in swept["adapter_dtype"].conclusion()


def test_words_of_a_comparison_name_an_arm_by_the_dtype_of_its_parameters(store):
    for dtype, count in (("float32", 200), ("bfloat16", 150)):
        add(store, "lora", count, adapter_dtype=dtype)
    compared = compare_two("lora", "lora adapter_dtype=bfloat16", store)
    assert (compared.a.name, compared.b.name) == ("lora r=16", "lora adapter_dtype=bfloat16 r=16")
    (said,) = compared.chosen
    assert "with the defaults of preset nano. For another add adapter_dtype=bfloat16" in said


def test_what_is_not_separated_is_said_to_be_so(store):
    for basis, count in (("V", 200), ("U", 201)):
        add(store, "antipasto", count, rotate_basis=basis)
    text = by_axis(only(store))["rotate_basis"].conclusion()
    assert "no rotate_basis separates from another (V, U)" in text
    assert "would be found four times in five." in text


def test_learning_rates_are_an_axis_where_several_were_given_the_seeds_of_the_best(store):
    for lr, count, seeds in ((1e-3, 100, 3), (1e-2, 200, 3), (1e-1, 50, 1)):
        add(store, "lora", count, seeds, lr=lr)
    add(store, "dora", 200, 1, lr=1e-2)
    add(store, "dora", 210, 3, lr=1e-3)
    (rates,) = by_axis(only(store))["lr"].series
    assert (rates.name, rates.values) == ("lora r=16", [1e-3, 1e-2])


def test_one_arm_a_variant_is_no_axis(store):
    for variant in ("lora", "dora", "base"):
        append(store.table, record(store, variant, [0, 1]))
    assert only(store).ablations == []


def test_the_frontier_is_what_nothing_cheaper_reaches(store):
    for variant, count, size in (("lora", 200, 1000), ("dora", 180, 1200), ("hra", 150, 500), ("ia3", 150, 600)):
        for seed in range(2 if variant == "lora" else 1):
            fields = {"trained_parameters": size}
            append(store.table, record(store, variant, EASY[:count], n=300, fields=fields, seed=seed))
    append(store.table, record(store, "base", EASY[:10], n=300))
    points = {p.arm.split()[0]: p for p in points_of(only(store), axes()) if p.cost == "trained parameters"}
    assert {name for name, p in points.items() if p.frontier} == {"lora", "hra"}
    assert "base" not in points, "zero has no place on a logarithmic axis"
    assert points["lora"].low < points["lora"].test < points["lora"].high


@pytest.mark.parametrize(("theme", "paper"), [("light", "#ffffff"), ("dark", "#0d1117")])
def test_names_of_points_lie_on_a_halo_of_the_background_above_every_line(store, theme, paper):
    for seed in range(2):
        append(store.table, record(store, "lora", EASY[:200], n=300, fields={"trained_parameters": 9}, seed=seed))
    *below, halo, name = pareto(only(store), theme)["layer"]
    assert "text" not in [layer["mark"]["type"] for layer in below]
    assert (halo["mark"]["stroke"], halo["mark"]["strokeWidth"]) == (paper, 4)
    assert halo["encoding"] == name["encoding"]
    assert "stroke" not in name["mark"]


def test_the_frozen_basis_family_is_drawn_as_one_kind(store):
    for variant in antipasto.CONFIGS:
        append(store.table, record(store, variant, EASY[:200], n=300, fields={"trained_parameters": 1000}))
    kinds = {point.arm.split()[0]: point.kind for point in points_of(only(store), axes()[:1])}
    family = {name for name, cls in antipasto.CONFIGS.items() if issubclass(cls, antipasto.FrozenBasisConfig)}
    assert {name for name, kind in kinds.items() if kind == FROZEN} == family
    assert set(kinds) == set(antipasto.CONFIGS)


def test_drawings_are_svg_for_both_schemes_and_the_same_whatever_the_order_of_rows(store):
    records = [
        record(store, "antipasto", EASY[:200], n=300, rotate_basis=basis, seed=s) for basis in "VU" for s in (0, 1)
    ]
    records += [record(store, "lora", EASY[:250], n=300, lr=lr) for lr in (1e-2, 1e-3)]
    drawn = []
    for order in (records, records[::-1]):
        store.table.unlink(missing_ok=True)
        for each in order:
            append(store.table, each)
        drawn.append(drawings(only(store)))
    assert drawn[0] == drawn[1]
    kinds = {name.split("-", 2)[2] for name in drawn[0]}
    assert kinds == {f"{axis}{end}.svg" for axis in ("pareto", "rotate_basis", "lr") for end in ("", "-dark")}
    for name, specification in drawn[0].items():
        alt.Chart.from_dict(specification)  # raises where it is no Vega-Lite
        assert svg(specification, store.results / name).startswith("<svg ")


def test_many_series_that_separate_throughout_take_no_time(store):
    """Groups of rows that are not compared with each other would multiply: three letters a series, 3^20 of them."""
    arms = [("lora", rank) for rank in range(2, 22)]
    for variant, rank in arms:
        for lr, count in ((1e-3, 20), (1e-2, 150), (1e-1, 280)):
            for seed in range(2):
                append(store.table, record(store, variant, EASY[: count + seed], n=300, rank=rank, lr=lr, seed=seed))
    rates = by_axis(only(store))["lr"]
    assert len(rates.series) == 20
    assert len(rates.pairs.separated_pairs()) == 60


def test_one_arm_with_one_seed_does_not_make_differences_seem_easier_to_find(store):
    for variant, count in (("lora", 200), ("dora", 190), ("hra", 150)):
        for seed in range(3):
            append(store.table, record(store, variant, EASY[: count + 10 * seed], n=300, seed=seed))
    whole = only(store).accuracy.smallest
    append(store.table, record(store, "ia3", EASY[:100], n=300))
    assert only(store).accuracy.smallest == pytest.approx(whole, rel=0.3)


def test_one_seed_a_value_says_nothing_of_an_axis(store):
    for basis, count in (("V", 250), ("none", 20)):
        add(store, "antipasto", count, seeds=1, rotate_basis=basis)
    text = by_axis(only(store))["rotate_basis"].conclusion()
    assert text.startswith("antipasto r=64: one seed a value, which says nothing of rotate_basis in general.")
    assert "beats" not in text


def test_rank_and_alpha_that_differ_freely_are_two_axes_and_not_one(store):
    for rank, alpha, count in ((4, 8, 100), (16, 8, 150), (4, 32, 120), (16, 32, 200)):
        add(store, "lora", count, rank=rank, alpha=alpha)
    swept = by_axis(only(store))
    assert {series.name for series in swept["rank"].series} == {"lora alpha=8", "lora alpha=32"}
    assert {series.name for series in swept["alpha"].series} == {"lora r=4", "lora r=16"}


def test_arms_that_were_shown_other_data_are_told_apart(store):
    for calibration in (16, 64):
        for rank in (8, 32):
            add(store, "antipasto_asvd", 100 + rank, rank=rank, **{"data.calibration": calibration})
    section = only(store)
    assert len({arm.name for arm in section.section.arms}) == 4
    names = {series.name for series in by_axis(section)["rank"].series}
    assert names == {"antipasto_asvd calibration=16", "antipasto_asvd calibration=64"}


def test_the_untuned_model_brings_no_luck_of_seeds_into_a_comparison(store):
    for variant, count in (("lora", 200), ("dora", 100), ("ia3", 30)):
        for seed in range(3):
            right = EASY[: count + 40 * (seed - 1) * (variant != "ia3")]
            append(store.table, record(store, variant, right, n=300, seed=seed))
    append(store.table, record(store, "base", EASY[:5], n=300))
    section = only(store)
    index = {arm.variant: i for i, arm in enumerate(section.section.arms)}
    pairs = section.accuracy
    against = {name: pairs[tuple(sorted((index["ia3"], index[name])))].stderr for name in ("base", "dora")}
    assert against["base"] < against["dora"] / 1.3
