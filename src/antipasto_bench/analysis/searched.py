"""What searches of settings found, from their trials: of `tune` itself, and of all that results/tune holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.places import shown_name
from ..spec.config import ADAPTER_WORDS
from ..spec.search import Point, Tried, best_of, losses_by_place, place_of, rate_at
from ..spec.selection import calibration_among, rate_family
from ..store.trials import TrialRecord

_WORDS = {name: word for word, name in ADAPTER_WORDS.items()}


@dataclass(frozen=True)
class SearchedArm:
    """The trials of an arm.

    Args:
        axis: the setting that was searched beside the learning rate; None where there was none.
        values: of the axis, in the order of `Point.value`; one that is None without an axis.
    """

    name: str
    axis: str | None
    values: tuple[Any, ...]
    tried: tuple[Tried, ...]
    steps: int  # of a trial

    def value_name(self, index: int) -> str:
        return self.name if self.axis is None else f"{self.name} {self.axis}={self.values[index]}"


class Found(NamedTuple):
    """What the search of an arm found, or that of a value of its axis."""

    name: str
    trials: int
    stopped: int
    diverged: int
    lr: float | None  # of least loss; None where no trial reached its end; so below
    loss: float | None
    lead: float | None  # how far the next rate is behind
    where: str  # inside, or at which edge of the rates that were tried
    chosen: bool  # of the values of the axis


def found(arm: SearchedArm) -> list[Found]:
    """What was found of an arm, one for each value of its axis."""
    best_value = None if (best := best_of(arm.tried)) is None else best.value
    return [_found(arm, value, value == best_value) for value in range(len(arm.values))]


def _found(arm: SearchedArm, value: int, chosen: bool) -> Found:
    own = [trial for trial in arm.tried if trial.point.value == value]
    states = [trial.state for trial in own]
    counts = len(own), states.count("stopped"), states.count("diverged")
    best = best_of(own, value)
    if best is None:
        return Found(arm.value_name(value), *counts, None, None, None, "", chosen)
    lower = best.place == min(trial.point.place for trial in own)
    where = "inside" if best.inside else "lower edge" if lower else "upper edge"
    return Found(arm.value_name(value), *counts, rate_at(best.place), best.loss, best.lead, where, chosen)


def losses(arm: SearchedArm, value: int) -> dict[float, float]:
    """The loss of each rate of a value whose trials reached their end, lowest rate first."""
    return {rate_at(place): loss for place, loss in sorted(losses_by_place(arm.tried, value).items())}


# ------------------------------------------------------------------ all recorded trials


@dataclass(frozen=True)
class SearchedSection:
    """The searches of one model and protocol: equal steps, data, batches and validation questions."""

    title: str
    protocol: str
    arms: list[SearchedArm]

    @property
    def slug(self) -> str:
        return f"tune-{self.protocol}"

    def budgets(self) -> dict[str, int]:
        """Trials of each arm."""
        return {arm.name: len(arm.tried) for arm in self.arms}


def searched_sections(records: Sequence[TrialRecord]) -> list[SearchedSection]:
    """The recorded trials by model and protocol, and in these by variant, in the order in which they were recorded.

    A setting in which alone the trials of a variant differ, beside lr and seed, is the axis of its search. Where they
    differ in several settings, each combination is an arm.
    """
    sections: dict[tuple[str, str], dict[str, list[TrialRecord]]] = {}
    for record in records:
        section = sections.setdefault((record.protocol, record.model), {})
        section.setdefault(record.variant, []).append(record)
    return [
        SearchedSection(
            f"{shown_name(model)}, trials of {next(iter(variants.values()))[0].steps} steps",
            protocol,
            [arm for own in variants.values() for arm in _arms(own)],
        )
        for (protocol, model), variants in sections.items()
    ]


def _arms(records: Sequence[TrialRecord]) -> list[SearchedArm]:
    calibration = calibration_among(record.config for record in records)
    families: dict[Any, list[TrialRecord]] = {}
    for record in records:
        families.setdefault(rate_family(record.protocol, record.config, calibration), []).append(record)
    settings = [own[0].config.adapter for own in families.values()]
    differing = [key for key in settings[0] if len({str(adapter.get(key)) for adapter in settings}) > 1]
    if len(differing) == 1 and len(families) > 1:
        key = differing[0]
        values = tuple(adapter[key] for adapter in settings)
        tried = tuple(t for value, own in enumerate(families.values()) for t in _tried(own, value))
        return [SearchedArm(records[0].variant, _WORDS.get(key, key), values, tried, records[0].steps)]
    return [
        SearchedArm(_name(own[0], differing), None, (None,), tuple(_tried(own, 0)), own[0].steps)
        for own in families.values()
    ]


def _name(record: TrialRecord, settings: Sequence[str]) -> str:
    adapter = record.config.adapter
    return " ".join([record.variant, *(f"{_WORDS.get(key, key)}={adapter[key]}" for key in settings)])


def _tried(records: Sequence[TrialRecord], value: int) -> list[Tried]:
    return [
        Tried(Point(value, place_of(record.lr), record.seed), tuple(loss for _, loss in record.losses), record.state)
        for record in records
    ]
