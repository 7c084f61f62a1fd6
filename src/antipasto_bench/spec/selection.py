"""Which runs differ in learning rate and seed alone, and which learning rate validation chooses among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antipasto import REGISTRY, AdapterConfig, AdapterError

from .config import RunConfig


def family(protocol: str, config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What runs share that differ in learning rate and seed alone; from a row of the table or a run's own dump."""
    adapter = tuple((key, str(value)) for key, value in sorted(config["adapter"].items()))
    calibration = config["data"]["calibration"] if _looks_at_data(config) else None
    return protocol, config["variant"], calibration, adapter


def family_of(run: RunConfig) -> tuple[Any, ...]:
    return family(run.protocol, run.model_dump(mode="json"))


def _looks_at_data(config: Mapping[str, Any]) -> bool:
    try:
        cfg = AdapterConfig.from_dict({"variant": config["variant"]} | config["adapter"])
    except AdapterError:  # base; or a variant that this program no longer has
        return True
    return REGISTRY[cfg.variant].needs_data(cfg)


def chosen(scores: Mapping[float, Mapping[int, float | None]]) -> float | None:
    """The learning rate of best mean validation accuracy over the seeds that every rate was tried on.

    The lower rate wins a tie. None where no seed was tried, and validated, on every rate.

    Args:
        scores: validation accuracy by learning rate and seed; None for a run that failed.
    """
    shared = set.intersection(*(set(by_seed) for by_seed in scores.values())) if scores else set()
    means: dict[float, float] = {}
    for lr, by_seed in scores.items():
        found = [value for seed in shared if (value := by_seed[seed]) is not None]
        if found and len(found) == len(shared):
            means[lr] = sum(found) / len(found)
    return min(means, key=lambda lr: (-means[lr], lr)) if means else None
