"""Simulated benchmarks, whose truth is known.

A run answers question q with probability logistic(c + difficulty_q + own_q), the effects of questions normal; the
difficulties are shared by the arms. The accuracy of a seed, over all questions that one could ask, is drawn from a Beta
distribution whose mean is that of its arm; c is what gives that accuracy, by Gauss-Hermite quadrature over the effects.
So the accuracy of an arm, over seeds and questions, is known exactly. BENCHMARKS of them measure a rate of 5% to ±0.5
points.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]

from antipasto_bench.analysis.seed_noise import seed_noise
from antipasto_bench.analysis.stats import compare

BENCHMARKS = 2000

Array = NDArray[np.float64]


@cache
def accuracy_curve(spread: float) -> tuple[Array, Array]:
    """(c, accuracies), on a grid, of questions whose effects have this standard deviation."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    centres = np.linspace(-16, 16, 3201)
    accuracies: Array = special.expit(centres[:, None] + spread * nodes) @ weights / weights.sum()
    return centres, accuracies


def answers(rng: np.random.Generator, accuracy: float, seeds: int, sd: float, effects: Array, spread: float) -> Array:
    """A (seeds, questions) table of right and wrong.

    Args:
        sd: of the seeds' accuracies.
        effects: of the questions, (questions,), drawn with mean 0 and standard deviation `spread`.
    """
    trials = accuracy * (1 - accuracy) / sd**2 - 1 if sd else math.inf
    drawn = rng.beta(accuracy * trials, (1 - accuracy) * trials, size=seeds) if sd else np.full(seeds, accuracy)
    centres, accuracies = accuracy_curve(spread)
    chances: Array = special.expit(np.interp(drawn, accuracies, centres)[:, None] + effects)
    return (rng.random(chances.shape) < chances).astype(float)


def benchmark(
    rng: np.random.Generator,
    accuracies: Sequence[float],
    seeds: Sequence[int],
    questions: int,
    seed_sds: Sequence[float],
    difficulty: float = 1.5,
    own: float = 0.4,
) -> list[Array]:
    """A (seeds, questions) table an arm; seed_sds are those of the seeds' accuracies."""
    shared, spread = difficulty * rng.normal(size=questions), math.hypot(difficulty, own)
    return [
        answers(rng, accuracy, k, sd, shared + own * rng.normal(size=questions), spread)
        for accuracy, k, sd in zip(accuracies, seeds, seed_sds, strict=True)
    ]


def room_for(sd: float, accuracy: float) -> float:
    """The sd that seeds have at an accuracy where those of 10 to 90% have `sd`.

    It shrinks with sqrt(p (1 - p)) beyond, and is at most half the distance to 0 or 100%: seeds that vary more have
    a few far from the others, and three that show none of these say nothing true of the mean.
    """
    edge = min(accuracy, 1 - accuracy)
    return min(sd * math.sqrt(min(1.0, accuracy * (1 - accuracy) / 0.09)), edge / 2)


def rates(
    accuracies: Sequence[float],
    seeds: Sequence[int],
    seed_sds: Sequence[float],
    questions: int,
    in_family: bool,
    rng: np.random.Generator,
    benchmarks: int = BENCHMARKS,
) -> tuple[float, float]:
    """Shares of benchmarks in which the first two arms differ at 5%, and whose interval holds the truth."""
    rejected = covered = 0
    truth = accuracies[0] - accuracies[1]
    for _ in range(benchmarks):
        tables = benchmark(rng, accuracies, seeds, questions, seed_sds)
        found = compare(tables[0], tables[1], seed_noise(tables) if in_family else None)
        rejected += found.p < 0.05
        covered += found.low <= truth <= found.high
    return rejected / benchmarks, covered / benchmarks
