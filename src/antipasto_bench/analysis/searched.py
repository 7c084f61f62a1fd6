"""What searches of settings found, from their trials: of `tune` itself, and of all that results/tune holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.places import shown_name
from ..spec.config import ADAPTER_WORDS
from ..spec.search import rate_at
from ..spec.selection import calibration_among, rate_family
from ..spec.tried import Tried, best_of, losses_by_place, of_steps
from ..store.trials import TrialRecord
from .found_rates import protocol_of_any_length, tried_of

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

    def lengths(self) -> list[int]:
        """Steps of its trials, shortest first."""
        return sorted({trial.point.steps for trial in self.tried})

    def value_name(self, index: int) -> str:
        return self.name if self.axis is None else f"{self.name} {self.axis}={self.values[index]}"


class Found(NamedTuple):
    """What the trials of one length found of an arm, or of a value of its axis."""

    name: str
    steps: int  # of the trials
    trials: int
    stopped: int
    diverged: int
    lr: float | None  # of least loss; None where no trial reached its end; so below
    loss: float | None
    lead: float | None  # how far the next rate is behind
    where: str  # inside, or at which edge of the rates that were tried with these steps
    chosen: bool  # of all lengths and values of the axis


def found(arm: SearchedArm) -> list[Found]:
    """What was found of an arm, one for each value of its axis and each length of its trials there."""
    best = best_of(arm.tried)
    chosen = None if best is None else (best.value, best.steps)
    return [
        _found(arm.value_name(value), own, (value, steps) == chosen)
        for value in range(len(arm.values))
        for steps in arm.lengths()
        if (own := [t for t in arm.tried if (t.point.value, t.point.steps) == (value, steps)])
    ]


def _found(name: str, own: Sequence[Tried], chosen: bool) -> Found:
    """What trials of one value and length found."""
    states = [trial.state for trial in own]
    counts = own[0].point.steps, len(own), states.count("stopped"), states.count("diverged")
    best = best_of(own)
    if best is None:
        return Found(name, *counts, None, None, None, "", chosen)
    lower = best.place == min(trial.point.place for trial in own)
    where = "inside" if best.inside else "lower edge" if lower else "upper edge"
    return Found(name, *counts, rate_at(best.place), best.loss, best.lead, where, chosen)


def losses(arm: SearchedArm, value: int, steps: int) -> dict[float, float]:
    """The loss of each rate of a value whose trials of so many steps reached their end, lowest rate first."""
    return {rate_at(place): loss for place, loss in sorted(losses_by_place(of_steps(arm.tried, steps), value).items())}


# ------------------------------------------------------------------ all recorded trials


@dataclass(frozen=True)
class SearchedSection:
    """The searches of one model and protocol but for the steps: equal data, batches and validation questions."""

    title: str
    protocol: str  # of the first recorded of its trials
    arms: list[SearchedArm]

    @property
    def slug(self) -> str:
        return f"tune-{self.protocol}"

    def lengths(self) -> list[int]:
        """Steps of its trials, shortest first."""
        return sorted({steps for arm in self.arms for steps in arm.lengths()})

    def budgets(self) -> dict[str, dict[int, int]]:
        """Trials of each arm, by their steps; of each value of its axis where only these had as many as other arms."""
        of_arms = {arm.name: self._counts(arm.tried) for arm in self.arms}
        of_values = {
            arm.value_name(value): self._counts([trial for trial in arm.tried if trial.point.value == value])
            for arm in self.arms
            for value in range(len(arm.values))
        }
        return of_arms if _all_equal(of_arms) or not _all_equal(of_values) else of_values

    def _counts(self, tried: Sequence[Tried]) -> dict[int, int]:
        return {steps: len(of_steps(tried, steps)) for steps in self.lengths()}


def _all_equal(budgets: Mapping[str, dict[int, int]]) -> bool:
    first, *others = budgets.values()
    return all(budget == first for budget in others)


def searched_sections(records: Sequence[TrialRecord]) -> list[SearchedSection]:
    """The recorded trials by model and protocol, and in these by variant, in the order in which they were recorded.

    Trials of several lengths are one search, whose protocols differ in the steps alone. A setting in which alone the
    trials of a variant differ, beside lr, seed and steps, is the axis of its search. Where they differ in several
    settings, each combination is an arm.
    """
    sections: dict[tuple[str, str], list[TrialRecord]] = {}
    for record in records:
        sections.setdefault((protocol_of_any_length(record.config), record.model), []).append(record)
    return [
        SearchedSection(shown_name(model), own[0].protocol, [arm for each in _by_variant(own) for arm in _arms(each)])
        for (_, model), own in sections.items()
    ]


def _by_variant(records: Sequence[TrialRecord]) -> list[list[TrialRecord]]:
    variants: dict[str, list[TrialRecord]] = {}
    for record in records:
        variants.setdefault(record.variant, []).append(record)
    return list(variants.values())


def _arms(records: Sequence[TrialRecord]) -> list[SearchedArm]:
    calibration = calibration_among(record.config for record in records)
    families: dict[Any, list[TrialRecord]] = {}
    for record in records:
        families.setdefault(rate_family("", record.config, calibration), []).append(record)  # all of one protocol
    settings = [own[0].config.adapter for own in families.values()]
    differing = [key for key in settings[0] if len({str(adapter.get(key)) for adapter in settings}) > 1]
    if len(differing) == 1 and len(families) > 1:
        key = differing[0]
        values = tuple(adapter.get(key) for adapter in settings)
        tried = tuple(tried_of(record, value) for value, own in enumerate(families.values()) for record in own)
        return [SearchedArm(records[0].variant, _WORDS.get(key, key), values, tried)]
    return [
        SearchedArm(_name(own[0], differing), None, (None,), tuple(map(tried_of, own))) for own in families.values()
    ]


def _name(record: TrialRecord, settings: Sequence[str]) -> str:
    adapter = record.config.adapter
    return " ".join([record.variant, *(f"{_WORDS.get(key, key)}={adapter.get(key)}" for key in settings)])
