"""How long finished runs took."""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum

from .record import RunRecord


def run_seconds(record: RunRecord) -> float | None:
    """Wall time of a run with all that was measured after it; None where its record does not say."""
    return None if record.total_s is None else record.total_s + (record.measure_s or 0.0)


def mean_seconds(records: Iterable[RunRecord]) -> float | None:
    """Of a run, over those whose records say; None where none does."""
    known = [seconds for record in records if (seconds := run_seconds(record)) is not None]
    return fsum(known) / len(known) if known else None
