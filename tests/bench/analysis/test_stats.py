"""Claims about intervals, comparisons and corrections: against other sources, by simulation, and as laws.

A simulated benchmark knows the truth. Question q is right for seed s of an arm with probability
Phi(c + difficulty_q + own_q + seed_s), all normal; the difficulties are shared by the arms, and the mean over questions
and seeds is then Phi(c / sqrt(1 + their variances)) exactly. 2,000 benchmarks measure a rate of 5% to ±0.5 points.
"""

import math
import time
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.metrics import mean_stderr
from scipy import special
from scipy.stats import binomtest, norm, t
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from antipasto_bench.analysis.multiplicity import holm, letters
from antipasto_bench.analysis.power import detectable
from antipasto_bench.analysis.stats import accuracy_over_seeds, compare, gap, seed_noise, summarise, wilson
from antipasto_bench.analysis.variance import SeedNoise

BENCHMARKS = 2000
nan = math.nan


def benchmark(rng, accuracies, seeds, questions, seed_sds, difficulty=1.2, own=0.3):
    """A table an arm; seed_sds are in accuracy, turned to first order into the seeds' own scale."""
    shared = difficulty * rng.normal(size=questions)
    tables = []
    for accuracy, k, sd in zip(accuracies, seeds, seed_sds, strict=True):
        centre, rest = special.ndtri(accuracy), 1 + difficulty**2 + own**2
        seed = sd * math.sqrt(2 * math.pi * rest) * math.exp(centre**2 / 2)
        latent = centre * math.sqrt(rest + seed**2) + shared + own * rng.normal(size=questions)
        chances = special.ndtr(latent + seed * rng.normal(size=(k, 1)))
        tables.append((rng.random((k, questions)) < chances).astype(float))
    return tables


def tables_of(seeds=4, questions=12, values=(0.0, 1.0)):
    """Tables of up to so many seeds and questions."""
    shapes = st.tuples(st.integers(1, seeds), st.integers(1, questions))
    return shapes.flatmap(
        lambda shape: st.lists(
            st.lists(st.sampled_from(values), min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        ).map(np.array)
    )


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


# two arms


@pytest.mark.parametrize(("wins", "losses", "ties"), [(12, 3, 85), (1, 0, 9), (5, 5, 0), (0, 0, 20), (40, 71, 1208)])
def test_two_runs_are_mcnemars_exact_test_and_bonett_and_prices_interval(wins, losses, ties):
    a = np.r_[np.ones(wins), np.zeros(losses), np.ones(ties)]
    b = np.r_[np.zeros(wins), np.ones(losses), np.ones(ties)]
    n = wins + losses + ties
    found = compare(a, b)
    assert found.p == pytest.approx(mcnemar([[ties, wins], [losses, 0]], exact=True).pvalue)
    assert found.difference == pytest.approx((wins - losses) / n)
    p, q = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    half = 1.959964 * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    assert (found.low, found.high) == pytest.approx((p - q - half, p - q + half), abs=1e-6)


def test_variance_is_that_of_bootstraps_over_questions_and_over_seeds():
    """Questions and seeds are drawn anew 4,000 times each; k/(k-1) makes up for drawing from k seeds only."""
    rng = np.random.default_rng(7)
    a, b = benchmark(rng, [0.6, 0.5], [3, 4], 800, [0.06, 0.06])
    d = a.mean(0) - b.mean(0)
    over_questions = np.var([d[rng.integers(800, size=800)].mean() for _ in range(4000)])
    over_seeds = noise = 0.0
    for table in (a, b):
        k = len(table)
        accuracy = table.mean(1)
        drawn = accuracy[rng.integers(k, size=(4000, k))].mean(1)
        over_seeds += drawn.var() * k / (k - 1)
        left = table - table.mean(0) - accuracy[:, None] + table.mean()
        noise += (left**2).sum() / ((k - 1) * 799) / 800 / k
    found = compare(a, b)
    assert over_seeds > over_questions  # so that neither part can hide the other
    # df lie between 2 and 5, so that between 2/3 and 5/6 of the noise is taken off
    assert found.stderr**2 == pytest.approx(over_questions + over_seeds - 0.75 * noise, rel=0.05)
    assert found.spread / 800 == pytest.approx(over_questions, rel=0.05)


def test_interval_weighs_a_normal_for_questions_and_a_t_for_seeds():
    a, b = benchmark(np.random.default_rng(10), [0.6, 0.5], [3, 4], 150, [0.1, 0.05])
    n, scale = 150, 1 / 3 + 1 / 4
    d = np.r_[a.mean(0) - b.mean(0), math.sqrt(scale / 2), -math.sqrt(scale / 2)]
    of_questions = d.var() / (n + 2)
    noise = [seed_noise([table]) for table in (a, b)]
    parts = [noise[0].variance / 3, noise[1].variance / 4]
    df = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3)  # Welch and Satterthwaite's
    of_seeds = sum(parts) - (noise[0].chance / 3 + noise[1].chance / 4) * df / (df + 1)
    assert of_seeds > 0
    stderr = math.sqrt(of_questions + of_seeds)
    half = (norm.ppf(0.975) * of_questions + t.ppf(0.975, df) * of_seeds) / stderr
    found = compare(a, b)
    assert found.stderr == pytest.approx(stderr)
    assert (found.low, found.high) == pytest.approx((d.mean() - half, d.mean() + half))
    ends = (norm.isf(found.p / 2) * of_questions + t.isf(found.p / 2, df) * of_seeds) / stderr
    assert ends == pytest.approx(abs(d.mean()))


def test_an_arm_that_varies_more_than_its_family_keeps_its_own_noise():
    a, b = benchmark(np.random.default_rng(10), [0.6, 0.5], [3, 3], 300, [0.1, 0.1])
    quiet = SeedNoise(0.0001, 0.0001, 1e9)
    own = sum(seed_noise([table]).variance - seed_noise([table]).chance for table in (a, b)) / 3
    found = compare(a, b, quiet)
    assert found.stderr**2 == pytest.approx(found.spread / 300 + own, rel=0.02)
    loud = SeedNoise(0.09, 0.0001, 1e9)
    assert compare(a, b, loud).stderr ** 2 == pytest.approx((0.09 - 0.0001) * 2 / 3, rel=0.05)
    assert summarise(a, loud).stderr ** 2 == pytest.approx((0.09 - 0.0001) / 3, rel=0.05)


with_gaps = st.integers(1, 10).flatmap(
    lambda n: st.tuples(
        *[
            st.integers(1, 3).flatmap(
                lambda k: st.lists(
                    st.lists(st.sampled_from([0.0, 1.0, 1.0, nan]), min_size=n, max_size=n), min_size=k, max_size=k
                ).map(np.array)
            )
        ]
        * 2
    )
)


@given(with_gaps, st.integers(0, 2**32 - 1), st.booleans())
def test_swapping_arms_flips_the_sign_and_no_order_matters(pair, seed, in_family):
    a, b = pair
    if not (~np.isnan(a).all(0) & ~np.isnan(b).all(0)).any():
        with pytest.raises(ValueError, match=r"both arms|no scores"):
            compare(a, b)
        return
    family = SeedNoise(0.002, 0.001, 14) if in_family else None
    found, swapped = compare(a, b, family), compare(b, a, family)
    assert swapped.p == found.p
    assert (swapped.difference, swapped.low, swapped.high) == (-found.difference, -found.high, -found.low)
    rng = np.random.default_rng(seed)
    order = rng.permutation(a.shape[1])
    shuffled = compare(rng.permutation(a)[:, order], rng.permutation(b)[:, order], family)
    assert (shuffled.p, shuffled.difference, shuffled.low) == (found.p, found.difference, found.low)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([0.0, 0.05, 0.2]), st.sampled_from([10, 60]))
def test_p_is_below_five_percent_exactly_where_the_interval_leaves_zero(seed, seeds_of_b, seed_sd, questions):
    rng = np.random.default_rng(seed)
    a, b = benchmark(rng, [0.65, 0.35], [3, seeds_of_b], questions, [seed_sd] * 2)
    for family in (None, SeedNoise(0.003, 0.001, 10)):
        found = compare(a, b, family)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
        assert 0 < found.p <= 1


def rates(accuracies, seeds, seed_sds, questions, in_family, rng):
    """Shares of benchmarks in which the first two arms differ at 5%, and whose interval holds the truth."""
    rejected = covered = 0
    truth = accuracies[0] - accuracies[1]
    for _ in range(BENCHMARKS):
        tables = benchmark(rng, accuracies, seeds, questions, seed_sds)
        found = compare(tables[0], tables[1], seed_noise(tables) if in_family else None)
        rejected += found.p < 0.05
        covered += found.low <= truth <= found.high
    return rejected / BENCHMARKS, covered / BENCHMARKS


def test_two_runs_reject_and_cover_as_they_say():
    rejected, covered = rates([0.6, 0.6], [1, 1], [0, 0], 300, False, np.random.default_rng(20))
    assert rejected <= 0.055
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize(
    ("seeds", "seed_sd"),
    [((3, 3), 0), ((3, 3), 0.01), ((3, 3), 0.02), ((3, 3), 0.04), ((2, 2), 0.03), ((2, 5), 0.02), ((5, 5), 0.03)],
)
def test_two_arms_by_themselves_reject_at_most_one_in_twenty(seeds, seed_sd):
    """Cautious where seeds change nothing, since three of them cannot show that; never beyond 5% by much."""
    rejected, covered = rates([0.6, 0.6], seeds, [seed_sd] * 2, 200, False, np.random.default_rng(21))
    assert 0.015 <= rejected <= 0.06
    assert covered == pytest.approx(1 - rejected)


@pytest.mark.parametrize("seed_sd", [0, 0.02, 0.04])
def test_two_arms_of_a_family_reject_as_they_say(seed_sd):
    rng = np.random.default_rng(22)
    rejected, _ = rates([0.6] * 6, [3] * 6, [seed_sd] * 6, 200, True, rng)
    assert 0.02 <= rejected <= 0.055


@pytest.mark.parametrize("seed_sd", [0, 0.02, 0.04])
def test_two_arms_of_a_family_cover_the_difference_and_find_it(seed_sd):
    rng = np.random.default_rng(23)
    rejected, covered = rates([0.72, 0.6] + [0.5] * 4, [3] * 6, [seed_sd] * 6, 200, True, rng)
    assert 0.93 <= covered <= 0.975
    assert rejected > 0.4


def test_an_arm_with_one_seed_borrows_from_the_other_or_from_its_family():
    """Three seeds that speak for four reject a little too often, in 7 benchmarks of 100; a family's seeds do not."""
    rejected, _ = rates([0.6, 0.6], [1, 3], [0.04] * 2, 200, False, np.random.default_rng(24))
    assert rejected <= 0.08
    rejected, _ = rates([0.6] * 6, [1, 3, 3, 3, 3, 3], [0.04] * 6, 200, True, np.random.default_rng(25))
    assert rejected <= 0.06
    rejected, _ = rates([0.6] * 6, [1, 1, 3, 3, 3, 3], [0.04] * 6, 200, True, np.random.default_rng(26))
    assert rejected <= 0.06
    a, b = benchmark(np.random.default_rng(27), [0.6, 0.6], [1, 3], 400, [0.1] * 2)
    noise = seed_noise([b])
    found = compare(a, b)
    borrowed = (noise.variance - noise.chance * 2 / 3) * (1 + 1 / 3)
    assert found.stderr**2 == pytest.approx(found.spread / 400 + borrowed, rel=0.02)


def test_comparison_uses_the_questions_both_arms_have():
    rng = np.random.default_rng(8)
    a, b = benchmark(rng, [0.7, 0.5], [3, 2], 60, [0.03, 0.03])
    holed_a, holed_b = a.copy(), b.copy()
    holed_a[:, :7] = nan
    holed_b[:, 5:12] = nan
    found = compare(holed_a, holed_b)
    assert found == compare(a[:, 12:], b[:, 12:])
    assert found.questions == 48
    one_gap = a.copy()
    one_gap[0, 3] = nan
    assert compare(one_gap, b).questions == 60
    assert compare(one_gap, b).p == pytest.approx(compare(a, b).p, rel=0.3)


def test_comparison_at_the_edges():
    ones, zeros = np.ones((3, 200)), np.zeros((3, 200))
    same = compare(ones, ones)
    assert (same.difference, same.p) == (0, 1)
    assert same.low < 0 < same.high
    far = compare(ones, zeros)
    assert far.difference == 1
    assert far.p < 1e-20
    assert 0.95 < far.low < far.high == 1
    for seeds in (1, 3):
        single = compare(np.ones((seeds, 1)), np.zeros((seeds, 1)))
        assert (single.difference, single.questions) == (1, 1)
        assert single.p > 0.3
        assert single.low < 0
    for a, b, message in (
        (np.zeros((0, 3)), ones[:, :3], "no scores"),
        (ones[:, :3], ones[:, :4], "3 and 4 questions"),
        ([[1, nan]], [[nan, 1]], "no question has a score in both arms"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(a, b)


def test_a_pair_takes_less_than_twenty_milliseconds():
    a, b = benchmark(np.random.default_rng(9), [0.6, 0.5], [3, 3], 1319, [0.02, 0.02])
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        compare(a, b)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.02


# many arms


def test_holm_steps_down_from_the_smallest():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x 0.01; 2 x 0.03; no less than that
    assert holm([[0.5, nan], [0.2, 0.01]]) == pytest.approx(np.array([[0.5, nan], [0.4, 0.03]]), nan_ok=True)
    assert holm([]).size == 0
    assert np.isnan(holm([nan, nan])).all()


@settings(max_examples=20)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(nan)), max_size=30))
def test_holm_is_monotone_and_leaves_nan_out(p):
    p = np.array(p)
    corrected, known = holm(p), ~np.isnan(p)
    assert np.array_equal(np.isnan(corrected), ~known)
    assert (corrected[known] >= p[known]).all()
    assert (np.diff(corrected[known][np.argsort(p[known], kind="stable")]) >= 0).all()
    if known.any():
        assert corrected[known].min() == pytest.approx(min(1, p[known].min() * known.sum()))


def symmetric(arms, bits):
    matrix = np.zeros((arms, arms), dtype=bool)
    matrix[np.triu_indices(arms, 1)] = bits
    return matrix | matrix.T


@given(
    st.integers(1, 10).flatmap(
        lambda arms: st.lists(st.booleans(), min_size=arms * (arms - 1) // 2, max_size=arms * (arms - 1) // 2).map(
            lambda bits: symmetric(arms, bits)
        )
    )
)
def test_arms_share_a_letter_if_and_only_if_they_are_not_separated(separated):
    shown = letters(separated)
    for i, j in combinations(range(len(shown)), 2):
        assert bool(set(shown[i]) & set(shown[j])) != separated[i, j]
    assert all(shown)
    assert shown[0][0] == "a"
    groups = {letter: {i for i, word in enumerate(shown) if letter in word} for word in shown for letter in word}
    assert not any(x < y for x in groups.values() for y in groups.values())  # no letter says what another one does


def test_letters_of_known_displays():
    apart = symmetric(4, [False, True, True, False, True, False])  # 1-3, 1-4 and 2-4 are separated
    assert letters(apart) == ["a", "ab", "bc", "c"]
    assert letters(symmetric(3, [False] * 3)) == ["a", "a", "a"]
    assert letters(symmetric(3, [True] * 3)) == ["a", "b", "c"]
    assert letters(np.zeros((0, 0))) == []
    sixty = letters(~np.eye(60, dtype=bool))
    assert sixty[25:28] == ["z", "A", "B"]
    assert len(set(sixty)) == 60
    assert {len(letter) for letter in sixty} == {1}
    for wrong in ([[True]], [[False, True], [False, False]], [[False, True]]):
        with pytest.raises(ValueError, match="symmetric"):
            letters(wrong)


@pytest.mark.parametrize("seed_sd", [0.0, 0.03])
def test_no_pair_of_equal_arms_is_separated_in_95_of_100_benchmarks(seed_sd):
    rng = np.random.default_rng(30)
    arms, found, single = 8, 0, 0
    for _ in range(BENCHMARKS):
        tables = benchmark(rng, [0.6] * arms, [3] * arms, 100, [seed_sd] * arms)
        family = seed_noise(tables)
        smallest = min(compare(a, b, family).p for a, b in combinations(tables, 2))
        found += smallest * 28 < 0.05  # Holm's first step, held to the whole by the test of its law above
        single += smallest < 0.05
    assert found / BENCHMARKS <= 0.055
    assert single / BENCHMARKS > 0.2  # what the correction is for


# what could have been shown


@pytest.mark.parametrize(
    ("questions", "seeds", "seed_sd", "in_family"),
    [(300, 1, 0, False), (300, 3, 0, False), (300, 3, 0.02, False), (300, 3, 0.02, True), (300, 1, 0.02, True)],
)
def test_a_detectable_difference_is_detected_four_times_in_five(questions, seeds, seed_sd, in_family):
    rng = np.random.default_rng(40)
    arms = 8 if in_family else 2
    others = [3] * (arms - 2)
    difference = 0.08
    for _ in range(2):  # the spread depends, a little, on the difference
        accuracies = [0.5 + difference / 2, 0.5 - difference / 2]
        many = benchmark(rng, accuracies, [3, 3], 100_000, [0, 0])
        chance = seed_noise(many).chance * 100_000 / questions
        spread = (many[0][:seeds].mean(0) - many[1][:seeds].mean(0)).var(ddof=1)
        df = sum(k - 1 for k in [seeds, seeds, *others])
        difference = detectable(questions, spread, seeds, SeedNoise(seed_sd**2 + chance, chance, df) if df else None)
    accuracies = [0.5 + difference / 2, 0.5 - difference / 2] + [0.5] * (arms - 2)
    rejected, _ = rates(accuracies, [seeds, seeds, *others], [seed_sd] * arms, questions, in_family, rng)
    assert 0.77 <= rejected <= 0.83


def test_detectable_difference_is_the_textbooks_where_variances_are_known():
    """(1.96 + 0.84) sqrt(D/n), with the continuity correction for two runs, and 1/k of both variances for k seeds."""
    assert detectable(1319, 0.2) == pytest.approx(2.8016 * math.sqrt(0.2 / 1319) + 1 / 1319, rel=0.01)
    known = SeedNoise(0.02**2, 0.0, 1e6)
    expected = 2.8016 * math.sqrt(0.1 / 100_000 + 2 / 3 * 0.02**2)
    assert detectable(100_000, 0.1, 1, SeedNoise(0.02**2 / 3, 0.0, 1e6)) == pytest.approx(expected, rel=0.01)
    assert detectable(100_000, 0.1, 3, known) > expected  # the pair's own three seeds may still say more
    assert detectable(300, 0.2, level=0.05 / 300) > 1.4 * detectable(300, 0.2)
    assert detectable(300, 0.2, power=0.9) > detectable(300, 0.2)
    assert detectable(1, 0.2) == math.inf
    with pytest.raises(ValueError, match="several seeds need their noise"):
        detectable(300, 0.2, seeds=3)


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
