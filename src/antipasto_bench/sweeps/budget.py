"""How long a sweep may take: `--budget 90s`, `30m` or `3h` of wall time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ..core.errors import UserError
from ..store.durations import mean_seconds
from ..store.folders import Store
from ..store.table import read_records
from .plan import Planned

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_BUDGET = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smh])")


def parse_budget(text: str) -> timedelta:
    """The time that a word says: seconds, minutes or hours.

    Raises:
        UserError: it says none, or none at all of it.
    """
    match = _BUDGET.fullmatch(text)
    try:
        time = timedelta(seconds=float(match[1]) * _SECONDS[match[2]]) if match else timedelta()
    except OverflowError:
        time = timedelta()
    if not timedelta() < time < timedelta(days=3650):
        raise UserError(f"--budget {text}: expected a time such as 90s, 30m or 3h")
    return time


def in_time(selected: Sequence[Planned], ends: datetime, store: Store) -> list[Planned]:
    """The runs that would end in time if they were begun now, by the mean of those of their arm that have finished.

    A run of an arm that has none is begun as long as there is time at all.
    """
    left = (ends - datetime.now(UTC)).total_seconds()
    if left <= 0:
        return []
    records = [record for record in read_records(store.table) if record.status == "ok"]
    seconds = {arm: mean_seconds(record for record in records if record.arm == arm) for arm in {r.arm for r in records}}
    return [p for p in selected if (seconds.get(p.run.arm) or 0.0) <= left]
