"""What the command `sweep` was given; read without importing what makes runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..core.errors import UserError
from .engine import Engine

# Set for workers: when their sweep began and when it is to end (UTC, ISO 8601), and the ids of the runs in hand where
# these are not all of it, by their last eight digits.
SWEEP_BEGAN, SWEEP_ENDS, SWEEP_RUNS = "ANTIPASTO_SWEEP_BEGAN", "ANTIPASTO_SWEEP_ENDS", "ANTIPASTO_SWEEP_RUNS"


@dataclass(frozen=True)
class SweepCommand:
    """What `antipasto-bench sweep` was given, but for the engine: what its workers are given, too.

    Args:
        words: a sweep file, or variants and `key=value,...` settings.
        retry_failed: make runs again that failed before the sweep began.
        limit: make no more than so many runs.
        as_json: print outcomes as JSON.
        ends: begin no run that would last longer.
        began: when it was given (UTC, ISO 8601).
    """

    words: list[str]
    preset: str | None = None
    retry_failed: bool = False
    limit: int | None = None
    shuffle: bool = False
    as_json: bool = False
    ends: datetime | None = None
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def retry_before(self) -> str | None:
        """Failures recorded before this time (UTC, ISO 8601) are made again."""
        return self.began if self.retry_failed else None


def is_worker() -> bool:
    """Whether this process was started by another one of the same sweep."""
    return SWEEP_BEGAN in os.environ


def refuse_with_until(command: SweepCommand, engine: Engine) -> None:
    """Refuse options that `--until decided` has no use for.

    Raises:
        UserError: with what to write in its place.
    """
    if command.limit is not None:
        raise UserError("--limit counts runs, and --until decided goes by what they say; bound it by --budget 3h")
    if command.shuffle:
        raise UserError("--until decided makes the runs seed by seed; leave out --shuffle")
