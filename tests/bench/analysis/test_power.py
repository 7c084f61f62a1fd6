"""Claims about the smallest difference that would be detected."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from simulated import benchmark, rates

from antipasto_bench.analysis.error import Error
from antipasto_bench.analysis.power import detectable
from antipasto_bench.analysis.seed_noise import SeedError, SeedPart, seed_noise
from antipasto_bench.analysis.stats import compare


@pytest.mark.parametrize(
    ("questions", "seeds", "seed_sd", "least", "most"),
    [(300, 3, 0.02, 0.72, 0.85), (300, 5, 0.03, 0.75, 0.85), (1319, 2, 0.02, 0.64, 0.75)],
)
def test_a_detectable_difference_is_detected_four_times_in_five(questions, seeds, seed_sd, least, most):
    """The difference is that of the median comparison of equal arms, as a table would have measured it.

    Seven times in ten with two seeds: the arms whose own seeds vary more than the pool need far more than the median.
    """
    rng, arms = np.random.default_rng(40), 8
    found = []
    for _ in range(100):
        tables = benchmark(rng, [0.5] * arms, [seeds] * arms, questions, [seed_sd] * arms)
        found.append(detectable(compare(tables[0], tables[1], seed_noise(tables)).error))
    difference = float(np.median(found))
    accuracies = [0.5 + difference / 2, 0.5 - difference / 2] + [0.5] * (arms - 2)
    rejected, _ = rates(accuracies, [seeds] * arms, [seed_sd] * arms, questions, True, rng, 500)
    assert least <= rejected <= most


def test_detectable_difference_is_the_textbooks_where_variances_are_known():
    """(1.96 + 0.84) sqrt(V + S)."""
    assert detectable(Error(0.0004, SeedError(()))) == pytest.approx(2.8016 * 0.02, rel=1e-4)
    seeds = SeedError((SeedPart(0.0005, math.inf),))
    assert detectable(Error(0.0004, seeds)) == pytest.approx(2.8016 * 0.03, rel=1e-4)
    expected = (norm.isf(0.05 / 300 / 2) + norm.ppf(0.9)) * 0.03
    assert detectable(Error(0.0004, seeds), 0.05 / 300, 0.9) == pytest.approx(expected)
    assert math.isnan(detectable(Error(math.nan, SeedError(()))))


def test_more_is_needed_where_less_is_known_of_seeds():
    known, few, hidden = (
        detectable(Error(0.0004, error))
        for error in (
            SeedError((SeedPart(0.0005, 1e6),)),
            SeedError((SeedPart(0.0005, 2.0),)),
            SeedError((SeedPart(0.0005, 1e6),), hidden=0.02, loud=0.015),
        )
    )
    assert known < hidden < few
