"""Statistics as small pure functions over arrays; nothing here reads a file."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def accuracy_over_seeds(correct: ArrayLike) -> tuple[float, float]:
    """Mean accuracy and its standard error over seeds and questions.

    Two things vary: which questions the test happens to ask, and what a seed does to training. With p_q the mean
    over k seeds at question q, and a_s the accuracy of seed s,

        stderr^2 = var_q(p_q) / n + var_s(a_s) / k

    (both variances with n - 1 below; the second term is 0 for one seed, where nothing is known of it, and this is
    then lm-eval's own stderr). Questions are shared by the seeds, so more seeds do not shrink the first term.

    Args:
        correct: (seeds, questions), 1 right and 0 wrong, the same questions in the same order for every seed.

    Returns:
        (mean, stderr), both in [0, 1]; stderr is nan for a single question.

    Raises:
        ValueError: there are no seeds or no questions.
    """
    table = np.atleast_2d(np.asarray(correct, dtype=float))
    seeds, questions = table.shape
    if seeds == 0 or questions == 0:
        raise ValueError("no scores: at least one seed and one question are needed")
    if questions == 1:
        return float(table.mean()), float("nan")
    variance = table.mean(0).var(ddof=1) / questions
    if seeds > 1:
        variance += table.mean(1).var(ddof=1) / seeds
    return float(table.mean()), float(np.sqrt(variance))
