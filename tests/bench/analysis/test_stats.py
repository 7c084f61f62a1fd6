"""Claims about the accuracy of one arm: against other sources, by simulation, and as laws."""

import math
from math import nan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.metrics import mean_stderr
from scipy.stats import binomtest
from simulated import BENCHMARKS, benchmark
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.proportion import proportion_confint

from antipasto_bench.analysis.stats import accuracy_over_seeds, gap, seed_noise, summarise, wilson
from antipasto_bench.analysis.variance import SeedNoise

# one standard error


def test_one_seed_is_lm_evals_own_stderr():
    scores = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    mean, stderr = accuracy_over_seeds([scores])
    assert mean == pytest.approx(3 / 7)
    assert stderr == pytest.approx(mean_stderr(scores))
    assert (summarise(scores).mean, summarise(scores).stderr) == pytest.approx((mean, stderr))


def test_identical_seeds_are_no_more_certain_than_one():
    one = np.array([1, 0, 0, 1, 1, 0.0])
    assert accuracy_over_seeds([one, one, one]) == pytest.approx(accuracy_over_seeds([one]))
    several, single = summarise([one, one, one]), summarise(one)
    assert (several.stderr, several.low, several.high) == pytest.approx((single.stderr, single.low, single.high))


def test_stderr_covers_questions_and_seeds():
    """Simulated benchmarks with a spread between seeds: the truth lies within two stderr about 95 times in 100."""
    rng = np.random.default_rng(0)
    inside = 0
    trials = 400
    for _ in range(trials):
        difficulty = rng.normal(0.0, 1.0, size=200)
        skill = rng.normal(0.3, 0.15, size=(5, 1))
        correct = rng.random((5, 200)) < 1 / (1 + np.exp(-(skill - difficulty)))
        mean, stderr = accuracy_over_seeds(correct)
        inside += abs(mean - 0.5615) < 2 * stderr  # E sigmoid(N(0.3, 1 + 0.15^2)), by quadrature
    assert 0.91 < inside / trials < 0.99


def test_edges_are_defined():
    assert accuracy_over_seeds([[1.0, 1.0, 1.0]]) == (1.0, 0.0)
    mean, stderr = accuracy_over_seeds([[1.0]])
    assert mean == 1.0
    assert math.isnan(stderr)
    with pytest.raises(ValueError, match="no scores"):
        accuracy_over_seeds(np.zeros((1, 0)))


# one run


@pytest.mark.parametrize(("right", "n"), [(0, 7), (7, 7), (1, 1), (3, 10), (521, 1319), (1318, 1319)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_wilson_is_scipys_and_statsmodels(right, n, level):
    low, high = wilson(right, n, level)
    assert (low, high) == pytest.approx(binomtest(right, n).proportion_ci(level, method="wilson"), abs=1e-12)
    assert (low, high) == pytest.approx(proportion_confint(right, n, 1 - level, method="wilson"), abs=1e-12)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors_right_and_wrong(case):
    right, n = case
    low, high = wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    assert (low == 0, high == 1) == (right == 0, right == n)
    assert wilson(n - right, n) == pytest.approx((1 - high, 1 - low))


def test_wilson_without_questions_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    for right, n in ((-1, 5), (6, 5), (1, 0)):
        with pytest.raises(ValueError, match="impossible"):
            wilson(right, n)


# one arm


def test_summary_of_a_single_run_is_wilsons():
    scores = np.r_[np.ones(61), np.zeros(39)]
    arm = summarise(scores)
    assert (arm.low, arm.high) == pytest.approx(wilson(61, 100))
    assert arm.binomial_sd == pytest.approx(math.sqrt(0.61 * 0.39 / 100))
    assert math.isnan(arm.seed_sd)
    assert (arm.seeds, arm.questions) == (1, 100)


def test_variance_is_the_two_way_analysis_of_variance():
    """V, B and E are statsmodels' mean squares of questions, of seeds and of what is left."""
    seeds, n = 3, 40
    (table,) = benchmark(np.random.default_rng(3), [0.6], [seeds], n, [0.15])
    s, q = np.indices(table.shape)
    frame = pd.DataFrame({"right": table.ravel(), "seed": s.ravel(), "question": q.ravel()})
    squares = anova_lm(ols("right ~ C(seed) + C(question)", frame).fit())["sum_sq"]
    of_seeds, of_questions = squares["C(seed)"] / (seeds - 1), squares["C(question)"] / (n - 1)
    left = squares["Residual"] / ((seeds - 1) * (n - 1))
    noise = seed_noise([table])
    assert noise == SeedNoise(pytest.approx(of_seeds / n), pytest.approx(left / n), 2)
    assert of_seeds > left  # the seeds do differ here: the last term is not zero
    arm = summarise(table)
    assert arm.stderr**2 == pytest.approx((of_questions + of_seeds - left * 2 / 3) / (seeds * n))
    assert arm.seed_sd == pytest.approx(table.mean(1).std(ddof=1))
    assert arm.binomial_sd == pytest.approx(math.sqrt(arm.mean * (1 - arm.mean) / n))


@pytest.mark.parametrize(
    ("seeds", "seed_sd", "difficulty"),
    [(1, 0, 0), (1, 0, 1.2), (3, 0, 1.2), (3, 0.01, 1.2), (3, 0.02, 1.2), (3, 0.04, 1.2), (3, 0.04, 0), (5, 0.03, 1.2)],
)
def test_interval_covers_the_methods_accuracy(seeds, seed_sd, difficulty):
    rng = np.random.default_rng(11)
    inside = 0
    for _ in range(BENCHMARKS):
        (table,) = benchmark(rng, [0.6], [seeds], 200, [seed_sd], difficulty)
        arm = summarise(table)
        inside += arm.low <= 0.6 <= arm.high
    assert 0.93 <= inside / BENCHMARKS <= 0.97


@pytest.mark.parametrize("seed_sd", [0, 0.04])
def test_interval_of_equally_hard_questions_is_cautious_at_most(seed_sd):
    """The hardest case: all that differs between questions is noise, and E is as large as V."""
    rng = np.random.default_rng(12)
    inside = 0
    for _ in range(BENCHMARKS):
        (table,) = benchmark(rng, [0.6], [3], 200, [seed_sd], difficulty=0, own=0)
        arm = summarise(table)
        inside += arm.low <= 0.6 <= arm.high
    assert 0.93 <= inside / BENCHMARKS <= 0.985


def test_one_seed_speaks_for_its_run_and_only_a_family_for_the_method():
    rng = np.random.default_rng(13)
    alone = with_family = 0
    for _ in range(BENCHMARKS):
        single, *others = benchmark(rng, [0.6] * 6, [1, 3, 3, 3, 3, 3], 300, [0.04] * 6)
        arm = summarise(single)
        alone += arm.low <= 0.6 <= arm.high
        arm = summarise(single, seed_noise([single, *others]))
        with_family += arm.low <= 0.6 <= arm.high
    assert alone / BENCHMARKS < 0.9
    assert 0.93 <= with_family / BENCHMARKS <= 0.97


def test_family_pools_by_degrees_of_freedom_and_narrows_three_seeds():
    tables = benchmark(np.random.default_rng(4), [0.6] * 4, [3, 3, 2, 1], 300, [0.03] * 4)
    own = [seed_noise([table]) for table in tables]
    family = seed_noise(tables)
    assert [noise.df for noise in own] == [2, 2, 1, 0]
    assert family.df == 5
    assert family.variance == pytest.approx((2 * own[0].variance + 2 * own[1].variance + own[2].variance) / 5)
    assert family.chance == pytest.approx((2 * own[0].chance + 2 * own[1].chance + own[2].chance) / 5)
    alone, together = summarise(tables[0]), summarise(tables[0], SeedNoise(own[0].variance, own[0].chance, 40))
    assert together.high - together.low < 0.7 * (alone.high - alone.low)
    assert summarise(tables[3], seed_noise([tables[3]])) == pytest.approx(summarise(tables[3]), nan_ok=True)


def test_summary_uses_what_is_there():
    table = np.array([[1, 0, nan, 1, nan], [1, nan, nan, 0, 1], [1, 0, nan, 0, 0], [nan] * 5])
    arm = summarise(table)
    assert (arm.seeds, arm.questions) == (3, 4)
    assert arm.mean == pytest.approx((1 + 0 + 1 / 3 + 1 / 2) / 4)
    assert arm.low < arm.mean < arm.high
    whole = benchmark(np.random.default_rng(5), [0.6], [3], 2000, [0.03])[0]
    holed = np.where(np.random.default_rng(6).random(whole.shape) < 0.02, nan, whole)
    assert summarise(holed).stderr == pytest.approx(summarise(whole).stderr, rel=0.1)


def test_summary_at_the_edges():
    right = summarise(np.ones((3, 50)))
    assert (right.mean, right.low, right.high) == (1, pytest.approx(wilson(50, 50)[0]), 1)
    wrong = summarise(np.zeros((3, 50)))
    assert (wrong.mean, wrong.low, wrong.high) == (0, 0, pytest.approx(wilson(0, 50)[1]))
    single = summarise([[1]])
    assert (single.low, single.high) == pytest.approx(wilson(1, 1))
    assert math.isnan(single.stderr)
    for nothing in ([], [[]], np.zeros((0, 5)), [[nan, nan]]):
        with pytest.raises(ValueError, match="no scores: at least one seed and one question"):
            summarise(nothing)
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        summarise([[1, 0.5]])


# validation and test


def test_gap_adds_the_questions_and_cancels_what_seeds_do_to_both():
    valid = np.array([[1, 1, 0, 1], [1, 0, 0, 0.0]])
    test = np.array([[1, 0, 1, 0, 1], [0, 0, 1, 0, 0.0]])
    found, stderr = gap(valid, test)
    assert found == pytest.approx(4 / 8 - 4 / 10)
    means = [valid.mean(0), test.mean(0)]
    questions = means[0].var(ddof=1) / 4 + means[1].var(ddof=1) / 5
    of_seeds = np.var([0.75 - 0.6, 0.25 - 0.2], ddof=1)
    noise = [seed_noise([split]).chance for split in (valid, test)]
    assert stderr**2 == pytest.approx(questions + max(0, of_seeds - sum(noise) / 2) / 2)
    one, _ = gap(valid[:1], test[:1])
    assert one == pytest.approx(0.75 - 0.6)
    assert gap(valid[:1], test[:1])[1] ** 2 == pytest.approx(mean_stderr(valid[0]) ** 2 + mean_stderr(test[0]) ** 2)


def test_gap_stderr_is_the_spread_of_gaps():
    """Seeds that differ by 4 points move both splits; the gap's stderr is that of questions, not of seeds."""
    rng = np.random.default_rng(50)
    gaps, variances = [], []
    for _ in range(BENCHMARKS):
        (table,) = benchmark(rng, [0.6], [3], 500, [0.04])
        found, stderr = gap(table[:, :200], table[:, 200:])
        gaps.append(found)
        variances.append(stderr**2)
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / math.sqrt(BENCHMARKS)
    assert 1.0 <= math.sqrt(np.mean(variances)) / np.std(gaps) <= 1.15
    inside = np.abs(gaps) < 1.96 * np.sqrt(variances)
    assert 0.93 <= inside.mean() <= 0.98


def test_gap_wants_the_same_seeds():
    for valid, test in ((np.ones((2, 3)), np.ones((3, 3))), ([[1, 0], [nan, nan]], [[1, 0], [0, 1]])):
        with pytest.raises(ValueError, match="the same seeds in validation and test"):
            gap(valid, test)
    with pytest.raises(ValueError, match="no scores"):
        gap([], [])
