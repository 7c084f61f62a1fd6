"""Which runs differ in learning rate and seed alone, and which learning rate validation chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

import antipasto
from antipasto.config import AdapterError

from .config import RunConfig

CalibrationOf = Callable[[RunConfig], int | None]


def rate_family(protocol: str, config: RunConfig, calibration: CalibrationOf | None = None) -> tuple[Hashable, ...]:
    """What runs share that differ in learning rate and seed alone.

    Args:
        protocol: of the run, as its record has it or as `config.protocol` digests it anew.
        calibration: `calibration_among` all runs whose families are compared; `calibration_of` where None.
    """
    adapter = tuple((key, str(value)) for key, value in sorted(config.adapter.items()))
    return protocol, config.variant, (calibration or calibration_of)(config), adapter


def calibration_among(configs: Iterable[RunConfig]) -> CalibrationOf:
    """What tells some runs apart by their calibration examples, as `calibration_of` does.

    Where all have the same number it tells none apart, and is read off without a look at the variants, for which torch
    would be imported.
    """
    same = len({config.data.calibration for config in configs}) <= 1
    return (lambda config: config.data.calibration) if same else calibration_of


def calibration_of(config: RunConfig) -> int | None:
    """How many calibration examples the adapter is attached with.

    None for variants that need no data; `data.calibration` for base, and for variants that this program no longer has.
    """
    try:
        cfg = antipasto.AdapterConfig.from_dict({"variant": config.variant} | config.adapter)
    except AdapterError:  # base, or a variant that is no longer there
        return config.data.calibration
    return config.data.calibration if antipasto.REGISTRY[cfg.variant].needs_data(cfg) else None


def choose_rate(scores: Mapping[float, Mapping[int, float | None]]) -> float | None:
    """The learning rate of best mean validation accuracy over the seeds that every rate was tried on.

    The lower rate wins a tie. None where no seed was tried, and validated, on every rate.

    Args:
        scores: validation accuracy by learning rate and seed; None for a run that failed.
    """
    shared = set.intersection(*(set(by_seed) for by_seed in scores.values())) if scores else set()
    means: dict[float, float] = {}
    for lr, by_seed in scores.items():
        values = [value for seed in shared if (value := by_seed[seed]) is not None]
        if values and len(values) == len(shared):
            means[lr] = sum(values) / len(values)
    return min(means, key=lambda lr: (-means[lr], lr)) if means else None
