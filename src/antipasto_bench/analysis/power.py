"""How much has to differ, and how much has to be measured, for a difference to be found."""

from __future__ import annotations

from scipy import special  # type: ignore[import-untyped]

from .error import Error


def detectable(error: Error, level: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a comparison with this error finds, at `level`, in a share `power` of tables.

    The half width of the interval, and z of the power times the standard error: (1.96 + 0.84) stderr where the error
    is known and normal. Holm's correction takes `level` over the number of comparisons at its first step.
    """
    return error.half(1 - level) + float(special.ndtri(power)) * error.stderr
