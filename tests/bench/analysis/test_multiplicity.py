"""Claims about Holm's correction for many comparisons; that it holds over tables: test_simulated_tables.py."""

from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from statsmodels.stats.multitest import multipletests

from antipasto_bench.analysis.multiplicity import holm


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
