"""From the variance of an estimate to its interval and its p.

V comes from questions, S from seeds in parts with their own degrees of freedom (variance.py, seed_noise.py). Each part
has its own quantile, weighted as in Cochran, Biometrics 20, 1964, 191-195:

    half width at z = (t_c V + sum t_f S_f) / stderr,    stderr^2 = V + sum S_f

where t_f is what Student's t with f degrees of freedom exceeds as often as a standard normal exceeds z. With three
seeds f is 2, and one Satterthwaite t for the sum covers as little as 91 % where seeds matter, because S and its weight
in f are then too low together. Where an arm's noise may hide, with a probability of w, p is that of a mixture
(a contaminated normal; Tukey, in Contributions to Probability and Statistics, 1960):

    p(d) = 2 Phi(-z(d)) + w 2 Phi(-d / sqrt(V + S_loud)),   at most 1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import fsum, inf, sqrt

from scipy import special  # type: ignore[import-untyped]

from .seed_noise import SeedError

LARGEST_Z = 12.0  # p is resolved down to 4e-33; beyond, the quantiles of one degree of freedom leave a float's range


@dataclass(frozen=True)
class Error:
    """The error of an estimate, over questions and seeds."""

    questions: float  # V
    seeds: SeedError
    question_df: float = inf  # of V; with few questions or kinds a t takes the place of z

    @cached_property
    def variance(self) -> float:
        return self.questions + fsum(part.variance for part in self.seeds.parts)

    @cached_property
    def _parts(self) -> list[tuple[float, float]]:
        """Degrees of freedom and variance of each part, those of 0 left out."""
        parts = [(self.question_df, self.questions), *((part.df, part.variance) for part in self.seeds.parts)]
        return [part for part in parts if part[1]]

    @cached_property
    def stderr(self) -> float:
        return sqrt(self.variance)

    def p(self, distance: float) -> float:
        """Two-sided p of a truth that lies this far from the estimate, at least 0 away."""
        if distance <= 0:
            return 1.0
        most = min(distance / sqrt(self.questions), LARGEST_Z) if self.questions else LARGEST_Z
        if self._width(most) > distance:
            most = _root(lambda z: distance - self._width(z), 0.0, most)
        return min(1.0, 2 * float(special.ndtr(-most)) + self._of_hidden(distance))

    def half(self, level: float = 0.95) -> float:
        """Half the width of the interval of this level: the distance at which p is 1 - level."""
        z = -float(special.ndtri((1 - level) / 2))
        if self.seeds.hidden and self.variance:

            def too_likely(z: float) -> float:
                return 2 * float(special.ndtr(-z)) + self._of_hidden(self._width(z)) - (1 - level)

            if too_likely(z) > 0:
                z = _root(too_likely, z, LARGEST_Z)
        return self._width(z)

    def _width(self, z: float) -> float:
        if not self.variance:
            return 0.0
        tail = float(special.ndtr(-z))
        # What Student's t with df degrees of freedom exceeds as often as a standard normal exceeds z.
        quantiles = [z if df == inf else -float(special.stdtrit(df, tail)) for df, _ in self._parts]
        weighted = (t * variance for t, (_, variance) in zip(quantiles, self._parts, strict=True))
        return fsum(weighted) / self.stderr

    def _of_hidden(self, distance: float) -> float:
        if not self.seeds.hidden:
            return 0.0
        return self.seeds.hidden * 2 * float(special.ndtr(-distance / sqrt(self.questions + self.seeds.loud)))


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses 0, to 1e-11; the nearer end where it does not.

    By Ridders' method (IEEE Transactions on Circuits and Systems 26, 1979, 979-980): the root of the exponential curve
    through both ends and the middle is the next end. scipy's brentq takes as many steps, and its module half a second
    to import, which every reading command would pay.
    """
    at_low, at_high = falling(low), falling(high)
    if at_low <= 0 or at_high >= 0:
        return low if at_low <= 0 else high
    last = inf
    for _ in range(40):  # each halves the interval at least
        middle = (low + high) / 2
        at_middle = falling(middle)
        scale = sqrt(at_middle**2 - at_low * at_high)
        root = middle + (middle - low) * at_middle / scale if scale else middle
        if abs(root - last) < 1e-11:
            break
        last, at_root = root, falling(root)
        for z, value in ((middle, at_middle), (root, at_root)):
            if value > 0 and z > low:
                low, at_low = z, value
            elif value <= 0 and z < high:
                high, at_high = z, value
        if not at_high:
            return high
    return root
