"""Swept axes: arms that differ in one setting alone, whichever setting that is.

Each axis has a family of comparisons of its own, of the pairs within a series alone. There are fewer of them than in
the whole table, so smaller differences can be detected.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from ..spec.config import ADAPTER_WORDS
from ..spec.selection import calibration_among
from .arms import Arm, compact
from .comparisons import Pair, Pairs, accuracy_pairs, comparable
from .sections import Section, slug
from .variance import SeedNoise

LR = "lr"
WORDS = {field: word for word, field in reversed(ADAPTER_WORDS.items())}  # as users type them


@dataclass(frozen=True)
class Series:
    """The arms of one variant along an axis, all other settings being equal."""

    name: str
    values: list[Any]  # of the axis, in order
    members: list[int]  # the arm of each value, in the ablation's arms


@dataclass(frozen=True)
class Ablation:
    """One axis."""

    axis: str
    arms: list[Arm]
    series: list[Series]
    pairs: Pairs

    @property
    def slug(self) -> str:
        """The axis as a part of file names and links: a row can have a setting of any name."""
        return slug(self.axis)

    @property
    def numeric(self) -> bool:
        """Whether the axis can be drawn to scale."""
        values = [value for series in self.series for value in series.values]
        return all(isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in values)

    def conclusion(self) -> str:
        """What the data allow to say of this axis, in words."""
        sentences = [self._sentence(series) for series in self.series]
        n, seeds = self.arms[0].scores.shape[1], sorted({arm.seeds for arm in self.arms})
        sample = f"n = {n}, {' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))} seed{'s' * (seeds[-1] > 1)}"
        count, smallest = len(self.pairs.conclusive), self.pairs.smallest
        limit = ""
        if smallest is not None:
            corrected = f", corrected for {count} comparisons" if count > 1 else ""
            limit = f" A difference of {points(smallest)} would be found four times in five{corrected}."
        return f"{' '.join(sentences)} ({sample}.{limit})"

    def _sentence(self, series: Series) -> str:
        """Which values of a series beat which others."""
        if not any(i in series.members for pair in self.pairs.conclusive for i in pair):
            return f"{series.name}: one seed a value, which says nothing of {self.axis} in general."
        name = {index: compact(value) for index, value in zip(series.members, series.values, strict=True)}
        order = {index: place for place, index in enumerate(series.members)}
        beaten_by: dict[int, list[int]] = {}
        for i, j in self.pairs.separated_pairs():
            if i in name and j in name:
                better, worse = (i, j) if self.pairs[i, j].centre > 0 else (j, i)
                beaten_by.setdefault(better, []).append(worse)
        if not beaten_by:
            return f"{series.name}: no {self.axis} separates from another ({', '.join(name.values())})."
        clauses = []
        for better in sorted(beaten_by, key=lambda index: (-self.arms[index].scores.mean(), order[index])):
            beaten = [name[worse] for worse in sorted(beaten_by[better], key=order.__getitem__)]
            clauses.append(f"{name[better]} beats {', '.join(beaten)}")
        return f"{series.name}: {self.axis} {'; '.join(clauses)}; no other two separate."


def points(value: float) -> str:
    """A difference of accuracies, in words."""
    return f"{100 * value:.1f} points" if value <= 1 else "no difference"


def ablations(section: Section, noise: SeedNoise | None = None) -> list[Ablation]:
    """Every axis that some variant was swept along; learning rate last.

    Args:
        noise: how much runs vary with their seeds, from all arms of the section.
    """
    fields = {key for arm in section.arms for key in arm.first.config.arm_settings}
    ordered = sorted(fields, key=lambda field: (field != "rotate_basis", WORDS.get(field, field)))
    axes = [*(_along(field, section, noise) for field in ordered), _rates(section, noise)]
    return [ablation for ablation in axes if ablation is not None]


def _along(field: str, section: Section, noise: SeedNoise | None) -> Ablation | None:
    """Arms of the table, each at its own chosen learning rate, that differ in one of their settings alone."""
    swept = _groups(field, section.arms)
    if field == "r":  # where alpha was swept in proportion to the rank
        remaining = [arm for arm in section.arms if not any(arm in members for members in swept)]
        swept += _groups(field, remaining, tied="alpha")
    named = [(_name(members, field), members, [_value(arm, field) for arm in members]) for members in swept]
    return _ablation(WORDS.get(field, field), sorted(named, key=lambda entry: entry[0]), noise)


def _groups(field: str, arms: list[Arm], tied: str | None = None) -> list[list[Arm]]:
    """Groups of arms that differ in a field alone, each sorted by it.

    Args:
        tied: another field, which may differ in proportion to the first.
    """
    groups: dict[Hashable, list[Arm]] = {}
    calibration = calibration_among(arm.first.config for arm in arms)
    for arm in arms:
        settings = arm.first.config.arm_settings
        if field in settings:
            rest: dict[str, Any] = {key: value for key, value in settings.items() if key != field}
            if tied is not None:
                if not settings.get(tied) or not settings[field]:
                    continue
                rest[tied] = settings[tied] / settings[field]
            key = (arm.variant, calibration(arm.first.config), json.dumps(rest, sort_keys=True))
            groups.setdefault(key, []).append(arm)
    swept = [sorted(members, key=lambda arm: order_of(_value(arm, field))) for members in groups.values()]
    return [
        members for members in swept if len({json.dumps(_value(arm, field)) for arm in members}) == len(members) > 1
    ]


def _value(arm: Arm, field: str) -> Any:
    value = arm.first.config.arm_settings[field]
    return "full" if field == "r" and value is None else value


def _rates(section: Section, noise: SeedNoise | None) -> Ablation | None:
    """The learning rates with as many seeds as any of their family has, where there are two or more of them."""
    named = []
    for arms in section.rates:
        most = max(arm.seeds for arm in arms)
        members = [arm for arm in arms if arm.seeds == most]
        if len(members) > 1:
            named.append((arms[0].name, members, [arm.lr for arm in members]))
    return _ablation(LR, sorted(named, key=lambda entry: entry[0]), noise)


def _ablation(axis: str, named: Sequence[tuple[str, list[Arm], list[Any]]], noise: SeedNoise | None) -> Ablation | None:
    """An axis of some series, each with its name, its arms and their values; None where they cannot be compared."""
    arms = [arm for _, members, _ in named for arm in members]
    if not arms or not comparable(arms):
        return None
    series, start = list[Series](), 0
    pairs: list[Pair] = []
    for name, members, values in named:
        places = list(range(start, start + len(members)))
        series.append(Series(name, values, places))
        pairs += combinations(places, 2)
        start += len(members)
    return Ablation(axis, arms, series, accuracy_pairs(arms, pairs, noise))


def _name(members: list[Arm], field: str) -> str:
    """The label of a series: its variant, without the axis itself."""
    words = [arm.label.split(" ") for arm in members]
    shared = " ".join(word for word in words[0] if all(word in others for others in words))
    return shared if field == "r" else replace(members[0], label=shared).name


ROTATE_BASIS_ORDER = ("V", "U", "both", "none")


def order_of(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then values of rotate_basis as papers list them, then other words."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, float(value), ""
    place = ROTATE_BASIS_ORDER.index(value) if value in ROTATE_BASIS_ORDER else len(ROTATE_BASIS_ORDER)
    return 1, float(place), str(value)
