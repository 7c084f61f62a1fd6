"""A run under way."""

from __future__ import annotations

from dataclasses import dataclass

from ..spec.config import RunConfig
from ..store.record import RunRecord
from .context import RunContext
from .workspace import Workspace


@dataclass
class ActiveRun:
    """A run's settings, what it is made with, where it grows, and what is recorded of it so far."""

    run: RunConfig
    context: RunContext
    workspace: Workspace
    record: RunRecord
    force: bool = False  # nothing is taken over from what was recorded earlier
