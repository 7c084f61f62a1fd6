"""Claims about comparisons of many arms: Holm's correction, and the letters that arms share."""

from itertools import combinations
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from simulated import BENCHMARKS, benchmark
from statsmodels.stats.multitest import multipletests

from antipasto_bench.analysis.multiplicity import holm, letters
from antipasto_bench.analysis.stats import compare, seed_noise


@settings(max_examples=10)  # statsmodels collects garbage at each call
@given(arrays(float, st.integers(1, 60), elements=st.floats(0, 1)))
def test_holm_is_statsmodels(p):
    assert holm(p).tolist() == multipletests(p, method="holm")[1].tolist()


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


@pytest.mark.long
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
