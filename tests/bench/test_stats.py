"""Claims about standard errors."""

import math

import numpy as np
import pytest
from lm_eval.api.metrics import mean_stderr

from antipasto_bench.stats import accuracy_over_seeds


def test_one_seed_is_lm_evals_own_stderr():
    scores = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    mean, stderr = accuracy_over_seeds([scores])
    assert mean == pytest.approx(3 / 7)
    assert stderr == pytest.approx(mean_stderr(scores))


def test_identical_seeds_are_no_more_certain_than_one():
    one = np.array([1, 0, 0, 1, 1, 0.0])
    assert accuracy_over_seeds([one, one, one]) == pytest.approx(accuracy_over_seeds([one]))


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
