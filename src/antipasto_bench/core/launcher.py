"""Whether this process is one of several that torchrun started for one run; asked without importing torch."""

from __future__ import annotations

import os

LAUNCHER_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)  # by torchrun


def launched() -> bool:
    """Whether torchrun or a compatible launcher started this process beside others."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")) and os.environ["WORLD_SIZE"] != "1"
