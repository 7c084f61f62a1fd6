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

from antipasto_bench.analysis.seed_noise import seed_noise
from antipasto_bench.analysis.stats import summarise, wilson
from antipasto_bench.analysis.variance import SeedNoise

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
    assert math.isnan(arm.seed_sd)
    assert (arm.seeds, arm.questions, arm.effective) == (1, 100, 100)


def test_stderr_of_a_single_run_is_lm_evals():
    scores = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    arm = summarise(scores)
    assert (arm.mean, arm.stderr) == pytest.approx((3 / 7, mean_stderr(scores)))


def test_identical_seeds_are_no_more_certain_than_one():
    one = np.array([1, 0, 0, 1, 1, 0.0])
    several, single = summarise([one, one, one]), summarise(one)
    assert (several.mean, several.stderr, several.low, several.high) == pytest.approx(
        (single.mean, single.stderr, single.low, single.high)
    )
    pool = SeedNoise(0.01, 0.001, 20)
    assert summarise([one, one, one], pool).stderr == pytest.approx(single.stderr), "no other seed differs either"
    assert summarise(one, pool).stderr > single.stderr


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
    assert (noise.variance, noise.chance, noise.df) == (pytest.approx(of_seeds / n), pytest.approx(left / n), 2)
    assert of_seeds > left  # the seeds do differ here: the last term is not zero
    arm = summarise(table)
    assert arm.stderr**2 == pytest.approx((of_questions + of_seeds - left * 2 / 3) / (seeds * n))
    assert arm.seed_sd == pytest.approx(table.mean(1).std(ddof=1))


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
    assert right.stderr == 0
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
