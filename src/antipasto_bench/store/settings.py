"""The settings of a recorded run by the names that users type, and whether a run has the values that one typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..spec.references import shown_config
from .record import RunRecord


def settings_of(record: RunRecord) -> dict[str, Any]:
    """All settings of a run, those of its data, scoring and adapter too; the adapter's by its config's field names."""
    config = shown_config(record.config).model_dump(mode="json")
    sections = {f"{name}.{key}": value for name in ("data", "eval") for key, value in config.pop(name).items()}
    own = {"protocol": record.protocol, "lr": record.lr, "seed": record.seed}
    return {**config, **sections, **config["adapter"], **own}


def has_settings(record: RunRecord, wanted: Mapping[str, Any]) -> bool:
    """Whether a run has all of the wanted settings.

    Args:
        wanted: values as the grammar reads them, by the names of `settings_of`.
    """
    settings, adapter = settings_of(record), record.config.adapter
    return all(
        key in settings and same_value(settings[key], value, ordered=key not in adapter)
        for key, value in wanted.items()
    )


def same_value(value: Any, wanted: Any, *, ordered: bool) -> bool:
    """Whether a recorded value is the one that a user wrote, who may write the entry of a list of one without brackets.

    Args:
        ordered: whether the order of a list means anything.
    """
    if isinstance(value, list):
        own, other = ([str(entry) for entry in x] for x in (value, wanted if isinstance(wanted, list) else [wanted]))
        return own == other if ordered else set(own) == set(other)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return str(value) == str(wanted)
    try:
        return bool(np.isclose(float(value), float(wanted), rtol=1e-9, atol=0))
    except (TypeError, ValueError):
        return str(value) == str(wanted)
