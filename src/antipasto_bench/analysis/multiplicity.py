"""Many comparisons at once: p values corrected for their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .variance import Array


def holm(p: ArrayLike) -> Array:
    """p values, of any shape, corrected for how many there are (Holm, Scand. J. Statistics 6, 1979, 65-70).

    The i-th smallest of m values, counted from 0, is multiplied by m - i; it is then at least that of each smaller
    value, and at most 1. A pair is separated at a family-wise level where its corrected p is below that level. nan
    stays nan and is not counted.
    """
    values = np.array(p, dtype=float)
    known = np.flatnonzero(~np.isnan(values))
    ascending = known[np.argsort(values.flat[known], kind="stable")]
    multiplied = values.flat[ascending] * np.arange(len(ascending), 0, -1)
    values.flat[ascending] = np.minimum(np.maximum.accumulate(multiplied), 1.0)
    return values
