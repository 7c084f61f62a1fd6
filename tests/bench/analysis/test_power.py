"""Claims about the smallest difference that would be detected."""

import math

import numpy as np
import pytest
from simulated import benchmark, rates

from antipasto_bench.analysis.power import detectable
from antipasto_bench.analysis.stats import seed_noise
from antipasto_bench.analysis.variance import SeedNoise


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
