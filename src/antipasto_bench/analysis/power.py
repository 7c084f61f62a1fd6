"""The smallest difference that a benchmark of some questions and seeds would have shown."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
from scipy import optimize, special  # type: ignore[import-untyped]

from .variance import SeedNoise, smoothed_variance


def detectable(
    questions: int,
    spread: float,
    seeds: int = 1,
    noise: SeedNoise | None = None,
    level: float = 0.05,
    power: float = 0.8,
) -> float:
    """The smallest true difference in accuracy that `compare` finds, at `level`, in a share `power` of benchmarks.

    h(S) is the half width that `compare` computes, and so the difference that it needs, where it estimates the seeds'
    part as S. The result is the d at which Phi((d - h(S)) / sqrt(V + S)), averaged over the estimates, is `power`. If S
    were known, that would be d = h + 0.84 sqrt(V + S) for a power of 0.8. For one seed each without noise, the test is
    McNemar's: S is 0, and 1/n is added, Edwards' continuity correction, which the exact test follows (Fleiss, Levin &
    Paik, Statistical Methods for Rates and Proportions, 2003, ch. 13).

    Args:
        questions: n.
        spread: `Comparison.spread`; for one seed each nearly the share of questions on which the two runs disagree.
        seeds: of either arm.
        noise: `seed_noise`; of a family where it has more degrees of freedom than the two arms have.
        level: of the test. The first step of Holm's correction takes 0.05 over the number of pairs.
        power: the share of benchmarks.

    Returns:
        A difference in (0, 1], or inf where not even a difference of 1 would be found that often.

    Raises:
        ValueError: several seeds without their noise.
    """
    if seeds > 1 and (noise is None or not noise.df):
        raise ValueError("several seeds need their noise; take it from seed_noise of the arms")
    B, E, df = (noise.variance, noise.chance, noise.df) if noise else (0.0, 0.0, 0.0)
    own, scale, z = seeds - 1, 2 / seeds, float(special.ndtri(1 - level / 2))
    f, estimates = np.full((1, 1), df or inf), np.full((1, 1), B - (E / (1 + 1 / df) if df else 0.0))
    if own:  # of two equal arms: the sum of their B is chi-squared, each arm's share of it beta; 64 quantiles of each
        grid = (np.arange(64) + 0.5) / 64
        share, sums = special.betaincinv(own / 2, own / 2, grid), special.chdtri(2 * own, grid)[:, None]
        family = df > 2 * own
        f = f if family else own / (share**2 + (1 - share) ** 2)
        estimates = np.maximum(B * sums / (2 * own) - E / (1 + 1 / f), estimates if family else 0.0)
    t = special.stdtrit(f, 1 - level / 2) if df else z
    S = scale * np.maximum(estimates, 0.0)

    def shortfall(d: float) -> float:
        disagreement = max(spread, d * (1 - d) if seeds == 1 else 0.0)  # at least as many as d demands
        V = smoothed_variance(questions * disagreement, questions, scale, 0.0)
        needed = (z * V + t * S) / np.sqrt(V + S)
        sd = max(sqrt(disagreement / questions + scale * max(0.0, B - E)), 1e-12)  # not 0 where no run differs
        return power - float(special.ndtr((d * questions / (questions + 2) - needed) / sd).mean())

    if shortfall(1.0) > 0:
        return inf
    return float(optimize.brentq(shortfall, 0.0, 1.0)) + (0.0 if df else 1 / questions)
