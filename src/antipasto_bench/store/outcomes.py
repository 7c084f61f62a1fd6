"""What became of a recorded run: a result, a training that diverged, or a loss to the machine.

A run that failed by itself (`failed_by` "run": its loss, gradient or a decomposition was not finite) would fail again,
so it is an outcome of its setting and counts. One that the machine failed is owed, and says nothing of its setting.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..spec.selection import DIVERGED, Validation
from .record import RunRecord


def validation_of(record: RunRecord) -> Validation | None:
    """What the choice of a learning rate sees of a run; None where it has no outcome."""
    if record.status == "ok":
        return Validation(record.valid_accuracy, record.valid_loss)
    return DIVERGED if _diverged(record) else None


def not_done(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The failed runs that have no result under another name of their model's folder either."""
    records = list(records)
    done = {(record.arm, record.seed) for record in records if record.status == "ok"}
    return [record for record in records if record.status == "failed" and (record.arm, record.seed) not in done]


def diverged_runs(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The runs that ended non-finite, by run id; of an arm one a seed, and none of which a result is there.

    Args:
        records: all of the table's.
    """
    by_seed: dict[tuple[str, int | None], RunRecord] = {}
    for record in sorted(not_done(records), key=lambda record: record.run_id):
        if _diverged(record) and not record.untuned:
            by_seed.setdefault((record.arm, record.seed), record)
    return list(by_seed.values())


def lost_runs(records: Iterable[RunRecord]) -> list[RunRecord]:
    """The runs that the machine failed: they are owed."""
    return [record for record in records if record.status == "failed" and record.failed_by == "machine"]


def _diverged(record: RunRecord) -> bool:
    return record.status == "failed" and record.failed_by == "run"
