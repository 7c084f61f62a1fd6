"""From a record of one version of the schema to the next, as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.json_types import Json

_FIRST_SCORING_RULES: dict[str, Json] = {
    "data": {"overlap": "allow"},
    "eval": {"version": 1, "merge_bound": None},
}

# What older records say of a failed run, by what it failed.
_BY_MACHINE = ("out of memory", "the disk is full", "its worker ", "its node ", "AcceleratorError", "CUDA error")
_BY_RUN = ("the loss is ", "the gradient norm is ", "the base model")


def _with_first_scoring_rules(config: Any) -> Any:
    """A config with what was done before there were settings for it; the model refuses what is no config."""
    if not isinstance(config, dict):
        return config
    sections = {name: config[name] for name in _FIRST_SCORING_RULES if isinstance(config.get(name), dict)}
    return config | {name: _FIRST_SCORING_RULES[name] | values for name, values in sections.items()}


def _failed_by(row: Json) -> Json:
    """Of a failed run, whether the run or the machine was at fault, as far as its error tells."""
    error = row.get("error")
    if row.get("status") != "failed" or not isinstance(error, str):
        return {}
    if any(words in error for words in _BY_MACHINE):
        return {"failed_by": "machine"}
    return {"failed_by": "run" if error.startswith(_BY_RUN) else None}


# By the version that a record has.
MIGRATIONS: dict[int, Callable[[Json], Json]] = {
    1: lambda row: {"processes": 1} | row,  # several processes could not make a run together then
    2: lambda row: row | {"config": _with_first_scoring_rules(row.get("config"))} | _failed_by(row),
    3: lambda row: row,  # the file of its adapter had no digest yet
    4: lambda row: row,  # neither its completion tokens nor a held-out loss by step were recorded yet
}
