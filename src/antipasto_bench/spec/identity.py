"""Which settings make a run what it is: said at each field of its config, and digested here.

    lr: Annotated[float, Counts(when="trained", protocol=False)]

A field without an annotation is part of every digest. The digests are over JSON with sorted keys, so the order of
fields does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..core.json_types import Json

NEVER_WITHOUT = object()  # of a field that every run had


@dataclass(frozen=True)
class Counts:
    """What a config field means for the digests of a run.

    Args:
        identity: it can change the outcome, so it is part of the run's id and of every other digest but `costs`.
        when: under which runs it means anything: every run; those that are trained; those whose adapter looks at
            calibration data.
        protocol: two runs that differ in it are not of one protocol, and share no table.
        arm: two runs that differ in it are not of one arm, and are not averaged.
        costs: two adapters that differ in it may differ in what they cost.
        older: run ids are older than the field; this is what it was for the runs before it. It is left out, and their
            ids stay as they are.
        content: from the value to what names its content, where the value names a file, a model or a task.
        place: its value can be the path of a file or folder; recorded is a name in place of that (references.py).
    """

    identity: bool = True
    when: Literal["always", "trained", "calibrated"] = "always"
    protocol: bool = True
    arm: bool = True
    costs: bool = True
    older: Any = NEVER_WITHOUT
    content: Callable[[Any], Any] | None = None
    place: bool = False


NOT_IDENTITY = Counts(identity=False)  # how a run is made, or what is measured beside it
EVERY_DIGEST = Counts()


def counts_of(field: FieldInfo) -> Counts:
    """What the field's annotation says."""
    return next((note for note in field.metadata if isinstance(note, Counts)), EVERY_DIGEST)


def identity(
    config: BaseModel, *, trained: bool, calibrated: bool, keep: Callable[[Counts], bool] | None = None
) -> Json:
    """All of a config that can change the outcome, with files named by their content and not by where they lie.

    Args:
        config: of a run, or a section of one.
        trained: whether anything is trained; what only means something then is left out otherwise.
        calibrated: whether the adapter looks at calibration data.
        keep: a further condition on the fields.
    """
    return _identity(config, config.model_dump(mode="json"), trained, calibrated, keep)


def _identity(
    config: BaseModel, dumped: Json, trained: bool, calibrated: bool, keep: Callable[[Counts], bool] | None
) -> Json:
    values: Json = {}
    for name, counts in _counts(type(config)):
        value = getattr(config, name)
        means_something = {"always": True, "trained": trained, "calibrated": trained and calibrated}[counts.when]
        if not counts.identity or not means_something or (keep is not None and not keep(counts)):
            continue
        if counts.older is not NEVER_WITHOUT and value == counts.older:
            continue
        if isinstance(value, BaseModel):
            values[name] = _identity(value, dumped[name], trained, calibrated, keep)
        else:
            values[name] = dumped[name] if counts.content is None else counts.content(value)
    return values


@cache  # thousands of digests are compared in one report
def _counts(model: type[BaseModel]) -> list[tuple[str, Counts]]:
    return [(name, counts_of(field)) for name, field in model.model_fields.items()]


def cost_settings(config: BaseModel) -> Json:
    """All of a config that can change what its adapter costs, as JSON values."""
    left_out = {name for name, field in type(config).model_fields.items() if not counts_of(field).costs}
    return config.model_dump(mode="json", exclude=left_out)
