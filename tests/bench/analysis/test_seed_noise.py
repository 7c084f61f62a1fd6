"""Claims about what seeds add to an error: from an arm's own seeds, and from those of all arms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from simulated import benchmark

from antipasto_bench.analysis.seed_noise import LOUDEST, LUCK, SeedPart, pooled, seed_error, seed_noise
from antipasto_bench.analysis.variance import ArmMeans, SeedNoise, sample_variance, score_means


def arm(accuracies, chance=0.0, room=1.0):
    """An arm whose seeds have these accuracies; its questions do not matter here."""
    values = np.asarray(accuracies, dtype=float)
    known = len(values) > 1
    noise = SeedNoise(sample_variance(values) if known else 0.0, chance if known else 0.0, len(values) - 1.0)
    return ArmMeans(np.array([0.5]), values - values.mean(), noise, room)


def arms_of(rng, sds, seeds):
    return [arm(0.5 + sd * rng.normal(size=seeds)) for sd in sds]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_pool_of_arms_that_vary_alike_is_their_variance(seeds):
    """With many arms; of 14 it is a little too large, by 7 % with two seeds."""
    rng = np.random.default_rng(80)
    for count, least, most in ((100, 0.98, 1.02), (14, 0.98, 1.09)):
        pools = [pooled(arms_of(rng, [0.01] * count, seeds)).variance for _ in range(1000)]
        assert least <= np.mean(pools) / 0.01**2 <= most


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_pools_degrees_of_freedom_are_those_of_its_spread(seeds):
    """var(s) = 2 s^2 / f of a scaled chi^2."""
    rng = np.random.default_rng(81)
    pools = [pooled(arms_of(rng, [0.01] * 33, seeds)) for _ in range(1500)]
    spread = np.var([pool.variance for pool in pools]) / np.mean([pool.variance for pool in pools]) ** 2
    assert pools[0].df == pytest.approx(2 / spread, rel=0.15)
    assert pools[0].df < 33 * (seeds - 1), "clipping costs some"


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("loud", "most"), [(1, 1.5), (3, 2.5)])
def test_loud_arms_move_the_pool_little_however_loud(seeds, loud, most):
    """A mean of variances would be above 10^4 times theirs."""
    rng = np.random.default_rng(82)
    pools = [pooled(arms_of(rng, [10.0] * loud + [0.01] * (14 - loud), seeds)).variance for _ in range(500)]
    assert 1 <= np.mean(pools) / 0.01**2 < most


def test_a_pool_of_few_arms_is_the_mean_by_degrees_of_freedom():
    arms = [arm([0.1, 0.3], 0.001), arm([0.2, 0.3, 0.7], 0.002), arm([0.4])]
    pool = pooled(arms)
    assert pool.variance == pytest.approx((0.02 + 2 * 0.07) / 3)
    assert (pool.chance, pool.df) == (pytest.approx((0.001 + 2 * 0.002) / 3), 3)
    assert pooled([arm([0.4])]) == pooled([]) == SeedNoise(0.0, 0.0, 0.0)


def test_the_pool_of_a_single_arm_says_what_the_arm_says():
    own = arm([0.2, 0.3, 0.7], 0.002)
    borrowed, alone = seed_error([own], pooled([own])), seed_error([own], None)
    assert (borrowed.parts, borrowed.hidden) == (alone.parts, alone.hidden)


def test_arms_that_show_it_raise_the_share_of_those_that_may_hide():
    rng = np.random.default_rng(83)
    quiet = arms_of(rng, [0.01] * 11, 5)
    assert pooled([*quiet, *arms_of(rng, [0.0101] * 3, 5)]).hidden == pytest.approx(1 / 14)
    assert pooled([*quiet, *arms_of(rng, [1.0] * 3, 5)]).hidden == pytest.approx(4 / 14)


def test_an_arm_whose_own_seeds_vary_more_keeps_its_own_degrees_of_freedom():
    pool = SeedNoise(0.0001, 0.0, 26.0, hidden=1 / 14)
    loud, quiet = arm([0.5, 0.6, 0.7]), arm([0.5, 0.505, 0.51])
    assert seed_error([loud], pool) == seed_error([loud], None)
    assert seed_error([loud], pool).parts == (SeedPart(pytest.approx(0.01 / 3), 2.0),)
    assert seed_error([quiet], pool).parts == (SeedPart(pytest.approx(0.0001 / 3), 26.0),)
    (both,) = seed_error([loud, quiet], pool).parts
    assert both.variance == pytest.approx((0.01 + 0.000025) / 3)
    assert 2 <= both.df < 2.02, "Welch and Satterthwaite: the loud arm's"


def test_an_arm_with_a_single_seed_takes_from_the_pool_what_it_lacks():
    pool, single, loud = SeedNoise(0.0001, 0.0, 26.0, hidden=1 / 14), arm([0.5]), arm([0.5, 0.6, 0.7])
    assert seed_error([single], pool).parts == (SeedPart(pytest.approx(0.0001), 26.0),)
    assert seed_error([single], pool).hidden == 0
    own, borrowed = seed_error([loud, single], pool).parts
    assert (own.df, borrowed.df) == (2.0, 26.0)
    assert (own.variance, borrowed.variance) == (pytest.approx(0.01 / 3), pytest.approx(0.0001))
    assert not seed_error([single], None).known


@pytest.mark.parametrize("seeds", [2, 3, 5, 9])
def test_a_hidden_loud_arm_is_as_likely_as_its_seeds_are_to_agree(seeds):
    pool = SeedNoise(0.0001, 0.0, 26.0, hidden=0.1)
    found = seed_error([arm([0.5] * (seeds - 1) + [0.501])], pool)
    ratio = found.loud * seeds / 0.0001
    assert found.hidden == pytest.approx(0.1 * chi2.cdf((seeds - 1) / ratio, seeds - 1))
    if seeds == 2:
        assert ratio == pytest.approx(LOUDEST)
        assert found.hidden > 0.1 * LUCK, "two seeds agree by luck more often than that"
    else:
        assert ratio < LOUDEST + 1
        assert found.hidden == pytest.approx(0.1 * LUCK, rel=0.1)


def test_an_arm_near_the_edge_has_less_room_to_vary():
    pool = SeedNoise(0.0004, 0.0, 26.0)
    (part,) = seed_error([arm([0.5, 0.501], room=0.3)], pool).parts
    assert part.variance == pytest.approx(0.3 * 0.0004 / 2)
    tables = benchmark(np.random.default_rng(84), [0.5] * 4 + [0.02] * 4, [3] * 8, 2000, [0.03] * 4 + [0.014] * 4)
    assert seed_noise(tables).variance == pytest.approx(seed_noise(tables[:4]).variance, rel=1.0)


def test_seeds_that_answer_alike_add_nothing():
    same = np.tile((np.random.default_rng(85).random(50) < 0.5).astype(float), (3, 1))
    pool = SeedNoise(0.01, 0.0001, 26.0)
    assert not seed_error([score_means(same)], pool).known
    assert pooled([score_means(same)]).df == 0


@given(st.lists(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4), min_size=1, max_size=8), st.randoms())
def test_the_pool_does_not_depend_on_the_order_of_arms(accuracies, random):
    arms = [arm(values) for values in accuracies]
    shuffled = arms.copy()
    random.shuffle(shuffled)
    a, b = pooled(arms), pooled(shuffled)
    assert (a.variance, a.df, a.hidden) == (b.variance, b.df, b.hidden)
    assert math.isfinite(a.variance)
    assert 0 <= a.hidden <= 1 + 1 / len(arms)
