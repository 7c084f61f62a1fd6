"""Simulated benchmarks, whose truth is known.

Question q is right for seed s of an arm with probability Phi(c + difficulty_q + own_q + seed_s), all normal; the
difficulties are shared by the arms, and the mean over questions and seeds is then Phi(c / sqrt(1 + their variances))
exactly. BENCHMARKS of them measure a rate of 5% to ±0.5 points.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]

from antipasto_bench.analysis.seed_noise import seed_noise
from antipasto_bench.analysis.stats import compare

BENCHMARKS = 2000


def benchmark(
    rng: np.random.Generator,
    accuracies: Sequence[float],
    seeds: Sequence[int],
    questions: int,
    seed_sds: Sequence[float],
    difficulty: float = 1.2,
    own: float = 0.3,
) -> list[NDArray[np.float64]]:
    """A (seeds, questions) table an arm; seed_sds are in accuracy, turned to first order into the seeds' own scale."""
    shared = difficulty * rng.normal(size=questions)
    tables = []
    for accuracy, k, sd in zip(accuracies, seeds, seed_sds, strict=True):
        centre, rest = special.ndtri(accuracy), 1 + difficulty**2 + own**2
        seed = sd * math.sqrt(2 * math.pi * rest) * math.exp(centre**2 / 2)
        latent = centre * math.sqrt(rest + seed**2) + shared + own * rng.normal(size=questions)
        chances = special.ndtr(latent + seed * rng.normal(size=(k, 1)))
        tables.append((rng.random((k, questions)) < chances).astype(float))
    return tables


def rates(
    accuracies: Sequence[float],
    seeds: Sequence[int],
    seed_sds: Sequence[float],
    questions: int,
    in_family: bool,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Shares of benchmarks in which the first two arms differ at 5%, and whose interval holds the truth."""
    rejected = covered = 0
    truth = accuracies[0] - accuracies[1]
    for _ in range(BENCHMARKS):
        tables = benchmark(rng, accuracies, seeds, questions, seed_sds)
        found = compare(tables[0], tables[1], seed_noise(tables) if in_family else None)
        rejected += found.p < 0.05
        covered += found.low <= truth <= found.high
    return rejected / BENCHMARKS, covered / BENCHMARKS
