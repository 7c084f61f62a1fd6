"""Swept axes: arms that differ in one setting alone, whichever setting that was.

Each axis is a question of its own, with a family of comparisons of its own: only pairs within a series are made, so
fewer of them, and smaller differences are found than in the whole table.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from .arms import Arm, Section, calibration_of, compact
from .comparisons import Pair, Verdict, comparable, points, verdict

LR = "lr"
WORDS = {"r": "rank", "target_names": "targets", "exclude_names": "exclude"}  # as users type them


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
    found: Verdict

    @property
    def numeric(self) -> bool:
        """Whether the axis can be drawn to scale."""
        values = [value for series in self.series for value in series.values]
        return all(isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in values)

    def conclusion(self) -> str:
        """What the data allow to say of this axis, in words."""
        told = [self._of(series) for series in self.series]
        n, seeds = self.arms[0].scores.shape[1], sorted({len(arm.rows) for arm in self.arms})
        spent = f"n = {n}, {' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))} seed{'s' * (seeds[-1] > 1)}"
        pairs = len(self.found.pairs)
        limit = ""
        if self.found.smallest is not None:
            corrected = f", corrected for {pairs} comparisons" if pairs > 1 else ""
            limit = f" Smallest difference found four times in five{corrected}: {points(self.found.smallest)}."
        return f"{' '.join(told)} ({spent}.{limit})"

    def _of(self, series: Series) -> str:
        name = {index: compact(value) for index, value in zip(series.members, series.values, strict=True)}
        order = {index: place for place, index in enumerate(series.members)}
        apart: dict[int, list[int]] = {}
        for i, j in self.found.apart():
            if i in name and j in name:
                better, worse = (i, j) if self.found.pairs[i, j].difference > 0 else (j, i)
                apart.setdefault(better, []).append(worse)
        if not apart:
            return f"{series.name}: no {self.axis} separates from another ({', '.join(name.values())})."
        told = [
            f"{name[better]} beats {', '.join(name[worse] for worse in sorted(apart[better], key=order.__getitem__))}"
            for better in sorted(apart, key=lambda index: (-self.arms[index].scores.mean(), order[index]))
        ]
        return f"{series.name}: {self.axis} {'; '.join(told)}; no other two separate."


def ablations(section: Section, noise: Any = None) -> list[Ablation]:
    """Every axis that some variant was swept along; learning rate last.

    Args:
        noise: what seeds do, from all arms of the section.
    """
    fields = {key for arm in section.arms for key in arm.rows[0]["config"].get("adapter", {})}
    found = [
        ablation
        for field in sorted(fields, key=lambda field: (field != "rotate_basis", WORDS.get(field, field)))
        if (ablation := _along(field, section, noise)) is not None
    ]
    rates = _rates(section, noise)
    return [*found, rates] if rates is not None else found


def _along(field: str, section: Section, noise: Any) -> Ablation | None:
    """Arms of the table, each at its own chosen learning rate, that differ in a field of their adapters alone."""
    swept = _groups(field, section.arms)
    if field == "r":  # where alpha went along with the rank, in one proportion
        left = [arm for arm in section.arms if not any(arm in members for members in swept)]
        swept += _groups(field, left, tied="alpha")
    named = [(_name(members, field), members, [_value(arm, field) for arm in members]) for members in swept]
    return _ablation(WORDS.get(field, field), sorted(named, key=lambda entry: entry[0]), noise)


def _groups(field: str, arms: list[Arm], tied: str | None = None) -> list[list[Arm]]:
    """Arms that differ in a field alone, in its order; `tied` is another one that may differ in proportion to it."""
    groups: dict[Hashable, list[Arm]] = {}
    for arm in arms:
        adapter = arm.rows[0]["config"].get("adapter", {})
        if field in adapter:
            rest: dict[str, Any] = {key: value for key, value in adapter.items() if key != field}
            if tied is not None:
                if not adapter.get(tied) or not adapter[field]:
                    continue
                rest[tied] = adapter[tied] / adapter[field]
            key = (arm.variant, calibration_of(arm.rows[0]), json.dumps(rest, sort_keys=True))
            groups.setdefault(key, []).append(arm)
    swept = [sorted(members, key=lambda arm: order_of(_value(arm, field))) for members in groups.values()]
    return [
        members for members in swept if len({json.dumps(_value(arm, field)) for arm in members}) == len(members) > 1
    ]


def _value(arm: Arm, field: str) -> Any:
    given = arm.rows[0]["config"]["adapter"][field]
    return "full" if field == "r" and given is None else given


def _rates(section: Section, noise: Any) -> Ablation | None:
    """Learning rates that were given as many seeds as the best of their family, two or more of them."""
    named = []
    for arms in section.rates:
        most = max(len(arm.rows) for arm in arms)
        whole = [arm for arm in arms if len(arm.rows) == most]
        if len(whole) > 1:
            named.append((arms[0].name, whole, [arm.lr for arm in whole]))
    return _ablation(LR, sorted(named, key=lambda entry: entry[0]), noise)


def _ablation(axis: str, named: list[tuple[str, list[Arm], list[Any]]], noise: Any) -> Ablation | None:
    arms = [arm for _, members, _ in named for arm in members]
    if not arms or not comparable(arms):
        return None
    series, pairs, start = [], list[Pair](), 0
    for name, members, values in named:
        places = list(range(start, start + len(members)))
        series.append(Series(name, values, places))
        pairs += combinations(places, 2)
        start += len(members)
    return Ablation(axis, arms, series, verdict(arms, pairs, noise))


def _name(members: list[Arm], field: str) -> str:
    """The label of a series: its variant, without the axis itself."""
    words = [arm.label.split(" ") for arm in members]
    kept = " ".join(word for word in words[0] if all(word in others for others in words))
    return kept if field == "r" else replace(members[0], label=kept).name


_BASES = ("V", "U", "both", "none")


def order_of(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then bases as papers list them, then other words."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, float(value), ""
    return 1, float(_BASES.index(value)) if value in _BASES else len(_BASES), str(value)
