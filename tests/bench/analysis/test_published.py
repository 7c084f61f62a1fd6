"""Claims about published tables of one run a row: what their accuracies alone separate, and what answers could add."""

from functools import partial
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from simulated import benchmark
from statsmodels.stats.proportion import confint_proportions_2indep

from antipasto_bench.analysis.published import (
    JudgedTable,
    PublishedRow,
    Repeats,
    at_best,
    better,
    interval,
    largest_of,
    least_separated,
    rank_ranges,
    sd_from_median,
    sd_from_pairs,
    units_needed,
    unpaired,
    verdicts,
)

N = 1319


def row(accuracy: float, name: str = "row", questions: int = N) -> PublishedRow:
    return PublishedRow(name, accuracy, questions)


def table(*accuracies: float) -> list[PublishedRow]:
    return [row(accuracy, f"row {i}") for i, accuracy in enumerate(accuracies)]


@pytest.mark.parametrize(("a", "b"), [(694, 631), (5, 0), (1319, 1300), (300, 1000)])
def test_over_questions_alone_the_interval_is_that_of_agresti_and_caffo(a, b):
    low, high = confint_proportions_2indep(a, N, b, N, method="agresti-caffo", compare="diff")
    found = unpaired(row(a / N), row(b / N))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert found.difference == pytest.approx((a - b) / N)
    assert (found.p < 0.05) == (not low <= 0 <= high)


def test_two_rows_of_equal_chance_are_separated_at_most_as_often_as_the_level_says():
    """Every outcome of 200 questions each, weighted by its probability."""
    n = 200
    rejected = np.array([[unpaired(row(i / n, "a", n), row(j / n, "b", n)).p < 0.05 for i in range(n + 1)]
                         for j in range(n + 1)])  # fmt: skip
    for p in (0.001, 0.01, 0.05, 0.2, 0.5, 0.97):
        chance = stats.binom.pmf(np.arange(n + 1), n, p)
        assert chance @ rejected @ chance <= 0.053, p


def test_shared_questions_make_the_unpaired_interval_too_wide_and_never_too_narrow():
    rng = np.random.default_rng(1)
    covered, wider = [], []
    for _ in range(300):
        a, b = (scores[0] for scores in benchmark(rng, [0.5, 0.5], [1, 1], N, [0, 0], difficulty=3.0))
        found = unpaired(row(a.mean()), row(b.mean()))
        covered.append(found.low <= 0 <= found.high)
        wider.append((found.high - found.low) / 2 / (1.96 * (a - b).std() / sqrt(N)))
    assert np.mean(covered) > 0.98
    assert min(wider) > 1.1


@pytest.mark.parametrize(("own", "covers"), [(0.0, (0.93, 0.97)), (6.0, (0.0, 0.9))])
def test_at_best_is_right_where_two_methods_find_the_same_questions_hard_and_else_too_narrow(own, covers):
    """Question by question equal chances of success; what one run differs from the next by is then all there is."""
    rng = np.random.default_rng(2)
    within = [np.diff([s.mean() for s in benchmark(rng, [0.5], [2], N, [0.01], own=own)[0]]) for _ in range(300)]
    seed_sd = sqrt(np.mean(np.square(within)) / 2)
    hits = []
    for _ in range(600):
        a, b = (scores[0].mean() for scores in benchmark(rng, [0.5, 0.5], [1, 1], N, [0.01] * 2, own=own))
        found = at_best(row(a), row(b), seed_sd)
        hits.append(found.low <= 0 <= found.high)
    assert covers[0] <= np.mean(hits) <= covers[1]


def test_noise_of_runs_makes_an_interval_of_questions_alone_too_narrow_and_added_makes_it_wide_enough():
    """Two runs at one accuracy in 0.5 ± 3 points, their answers independent: 5 % may lie outside."""
    rng = np.random.default_rng(3)
    outside = {0.0: 0, 0.03: 0}
    for _ in range(1000):
        a, b = rng.binomial(N, rng.normal(0.5, 0.03, 2)) / N
        for seed_sd in outside:
            outside[seed_sd] += unpaired(row(a), row(b), seed_sd).p < 0.05
    assert outside[0.0] > 300
    assert outside[0.03] < 70


def test_equal_rows_are_rarely_separated_by_any_pair():
    rng = np.random.default_rng(4)
    judge = partial(unpaired, seed_sd=0.0073)
    tables = (table(*(rng.binomial(N, rng.normal(0.56, 0.0073, 13)) / N)) for _ in range(200))
    assert sum(better(rows, judge).any() for rows in tables) <= 10


@settings(max_examples=50)
@given(st.lists(st.integers(0, N), min_size=2, max_size=8), st.floats(0.001, 0.03))
def test_what_is_separated_as_published_is_separated_at_best(right, seed_sd):
    rows = table(*(k / N for k in right))
    known, best = (partial(how, seed_sd=seed_sd) for how in (unpaired, at_best))
    wins, more = better(rows, known), better(rows, best)
    assert not (wins & ~more).any()
    assert not (wins & wins.T).any()
    for a, b in zip(verdicts(rows, rows[0], known), verdicts(rows, rows[0], best), strict=True):
        assert a in (0, b)
    for (first, last), (least, most), place in zip(rank_ranges(wins), rank_ranges(more), right, strict=True):
        above, below = (sum(k > place for k in right), sum(k < place for k in right))
        assert first <= least <= 1 + above
        assert len(right) - below <= most <= last


def test_verdicts_are_against_the_reference_and_corrected_for_the_number_of_rows():
    reference = row(0.5, "lora")
    close = row(0.5 + 1.05 * least_separated(2 * 0.25 / N), "close")
    assert verdicts([close, reference], reference, unpaired) == [1, 0]
    assert verdicts([close, reference, row(0.51, "other")], reference, unpaired) == [0, 0, 0]
    far = [row(0.7, "far"), row(0.1, "low"), row(0.0, "none")]
    assert verdicts([*far, reference, close], reference, unpaired) == [1, -1, -1, 0, 1], "Holm steps down"


def test_a_rank_range_counts_the_rows_that_are_certainly_better_and_worse():
    assert rank_ranges(better(table(0.9, 0.5, 0.49, 0.1), unpaired)) == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert rank_ranges(better(table(0.5, 0.5, 0.5), unpaired)) == [(1, 3)] * 3


def test_a_row_of_no_right_answers_has_an_interval():
    assert interval(row(0.0))[0] == 0
    assert 0.002 < interval(row(0.0))[1] < 0.004
    assert unpaired(row(0.0), row(0.0)).low < 0 < unpaired(row(0.0), row(0.0)).high


def test_the_standard_deviation_of_a_run_follows_from_differences_of_runs():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0, 0.73, (2, 100_000))
    assert sd_from_median(float(np.median(abs(a - b)))) == pytest.approx(0.73, rel=0.02)
    assert Repeats(100_000, 0.7, float((a - b).std()), 5.4).run_sd_from_sd == pytest.approx(0.73, rel=0.01)
    assert sd_from_pairs([(1, 2), (5, 4), (2, 3)])[0] == pytest.approx(sqrt(0.5))
    largest = abs(a - b)[: 122 * 800].reshape(800, 122).max(1)
    assert largest_of(122, 0.73) == pytest.approx(np.median(largest), rel=0.02)


def test_the_interval_of_a_standard_deviation_holds_it_as_often_as_it_says():
    rng = np.random.default_rng(6)
    found = [sd_from_pairs(rng.normal(50, 0.8, (3, 2)).tolist()) for _ in range(1000)]
    assert 0.93 <= np.mean([low <= 0.8 <= high for _, low, high in found]) <= 0.97


@pytest.mark.parametrize("comparisons", [1, 62])
@pytest.mark.parametrize("difference", [0.01, 0.02])
def test_as_many_seeds_as_are_said_to_be_needed_find_it_four_times_in_five_and_one_less_does_not(
    difference, comparisons
):
    variance = 2 * 0.0073**2
    k = units_needed(difference, variance, comparisons)
    power = [
        stats.norm.sf(least_separated(variance / seeds, comparisons), difference, sqrt(variance / seeds))
        for seeds in (k - 1, k)
    ]
    assert power[0] < 0.8 <= power[1]


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="expected one above 0"):
        at_best(row(0.5), row(0.4), 0.0)
    with pytest.raises(ValueError, match="0 rows are named lora"):
        JudgedTable.of(table(0.5, 0.4), "lora", 0.01)


def test_a_judged_table_is_ordered_and_needs_what_its_comparisons_need():
    judged = JudgedTable.of(table(0.1, 0.5, 0.9), "row 1", 0.01)
    assert [one.name for one in judged.rows] == ["row 2", "row 1", "row 0"]
    assert [one.verdict for one in judged.unpaired] == [1, 0, -1]
    just = row(0.5 + 1.01 * judged.needed(), "just")
    assert (
        unpaired(just, judged.reference, 0.01).p < 0.05 < unpaired(row(0.5 + 0.97 * judged.needed()), row(0.5), 0.01).p
    )
    assert judged.needed_at_best() < judged.needed() < judged.needed(62)
