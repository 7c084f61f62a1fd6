"""What a run is made with, beside its config."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.signals import StopRequest
from ..store.folders import Store
from .model_cache import ModelCache
from .process_group import ALONE, ProcessGroup
from .progress import Progress


@dataclass
class RunContext:
    """Shared by all runs of a process.

    Args:
        store: where runs are made and recorded.
        progress: what a person sees of a run.
        stop: set by SIGINT or SIGTERM; checked after each step.
        models: what earlier runs of this process loaded.
        group: the processes that make each run together.
    """

    store: Store
    progress: Progress = field(default_factory=Progress)
    stop: StopRequest = field(default_factory=StopRequest)
    models: ModelCache = field(default_factory=ModelCache)
    group: ProcessGroup = ALONE
