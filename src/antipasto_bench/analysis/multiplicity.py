"""Many comparisons at once: p values corrected for their number, and letters that show which pairs are separated."""

from __future__ import annotations

import string

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


def letters(separated: ArrayLike) -> list[str]:
    """Compact letter display: two arms share a letter if and only if they are not separated.

    Insert and absorb (Piepho, J. Computational and Graphical Statistics 13, 2004, 456-466): start from one group of all
    arms; each separated pair splits every group that holds both; a group within another is removed.

    Args:
        separated: (arms, arms) booleans, symmetric; arms in the order in which letters are given out, best first.

    Returns:
        One string an arm: a to z, then A to Z, then the rest of Unicode's alphabets.

    Raises:
        ValueError: the matrix is not square and symmetric, or separates an arm from itself.
    """
    matrix = np.asarray(separated, dtype=bool)
    arms = len(matrix)
    if matrix.shape != (arms, arms) or (matrix != matrix.T).any() or matrix.diagonal().any():
        raise ValueError("expected a symmetric matrix of arms by arms that separates no arm from itself")
    groups = {frozenset(range(arms))}
    for i, j in np.argwhere(np.triu(matrix)).tolist():
        split = {group - {arm} if {i, j} <= group else group for group in groups for arm in (i, j)}
        groups = {group for group in split if not any(group < other for other in split)}
    alphabet = string.ascii_letters + "".join(filter(str.isalpha, map(chr, range(0xC0, 0x3000))))
    named = list(zip(alphabet, sorted(map(sorted, groups)), strict=False))
    return ["".join(letter for letter, group in named if arm in group) for arm in range(arms)]
