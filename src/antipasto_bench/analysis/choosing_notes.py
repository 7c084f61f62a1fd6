"""What a table's readers must know of the learning rates that were chosen, and of the runs that diverged, in sentences.

Each function gives a list of sentences, which is empty where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from ..spec.selection import calibration_among, rate_family
from ..store.record import RunRecord
from .arms import label_of, name_of
from .found_rates import FoundRate
from .sections import Section, TriedRates

NAMED = 3  # arms in a sentence


def choosing_notes(section: Section) -> list[str]:
    """Where the choice of learning rates favours some arms, or may not be at its end."""
    return [*_unequal_tries(section), *scored_where_chosen(section), *_edges(section)]


class DivergedArm(NamedTuple):
    """An arm of which every run ended non-finite."""

    label: str
    records: list[RunRecord]
    alone: bool  # whether no other learning rate of it has a result: then it is a row of the table

    @property
    def name(self) -> str:
        return name_of(self.label, self.records[0])


def diverged_arms(section: Section) -> list[DivergedArm]:
    """The arms of which every run ended non-finite, by name and learning rate: nothing is right in their runs."""
    peers = [*section.records, *section.diverged]
    finished = {record.arm for record in section.records}
    lost: dict[str, list[RunRecord]] = {}
    for record in section.diverged:
        if record.arm not in finished:
            lost.setdefault(record.arm, []).append(record)
    if not lost:
        return []
    calibration = calibration_among(record.config for record in peers)

    def family(record: RunRecord) -> tuple[Hashable, ...]:
        return rate_family(record.protocol, record.config, calibration)

    scored = set(map(family, section.records))
    arms = [DivergedArm(label_of(own[0], peers), own, family(own[0]) not in scored) for own in lost.values()]
    return sorted(arms, key=lambda arm: (arm.name, arm.records[0].lr or 0))


def rows_of_diverged(section: Section) -> list[DivergedArm]:
    """Those that stand below the other arms of a table."""
    return [arm for arm in diverged_arms(section) if arm.alone]


def diverged_notes(section: Section) -> list[str]:
    """The arms of which every run ended non-finite, as `dora r=16 lr=1: 3 of 3 runs diverged`."""
    said = []
    for arm in diverged_arms(section):
        rate, n = arm.records[0].lr, len(arm.records)
        said.append(f"{arm.name}{'' if rate is None else f' lr={rate:g}'}: {n} of {n} run{'s' * (n != 1)} diverged")
    return sorted(said)


def _unequal_tries(section: Section) -> list[str]:
    by_count: dict[int, list[str]] = {}
    for name, tries in sorted(_tries(section).items()):
        by_count.setdefault(tries, []).append(name)
    if len(by_count) < 2:
        return []
    parts = [f"{tries} ({_listed(names)})" for tries, names in sorted(by_count.items())]
    return [f"The arms were tried at different numbers of learning rates, and more tries flatter: {'; '.join(parts)}."]


def _tries(section: Section) -> dict[str, int]:
    """How many learning rates each arm was chosen among; 1 for an arm that was trained at a single one.

    An arm at the rate that a search found was chosen among none of the table's: it is left out.
    """
    chosen = {tried.arm: len(tried.rates) for tried in section.tried if tried.chosen is not None and not tried.searched}
    undecided = {tried.arm for tried in section.tried if tried.chosen is None}
    several = {arm.first.arm for arms in section.rates for arm in arms}
    single = {
        arm.name: 1
        for arm in section.arms
        if arm.lr is not None
        and arm.first.arm not in several
        and arm.first.arm not in section.searched
        and arm.name not in undecided
    }
    return single | chosen


def scored_where_chosen(section: Section) -> list[str]:
    """The arms whose rate was chosen on a seed that is scored."""
    names = [arm.name for arm in section.arms if arm.scored_where_chosen]
    if not names:
        return []
    their = "Its learning rate was" if len(names) == 1 else "Their learning rates were"
    return [f"{their} chosen on the very seed that is scored, for want of others, which flatters: {_listed(names)}."]


def _edges(section: Section) -> list[str]:
    names = sorted(arm.name for arm in section.arms if _at_edge(section.searched.get(arm.first.arm)))
    which = f"Searches found their lowest or highest rate to be best, and one beyond may be better: {_listed(names)}."
    searched = [which] if names else []
    return [*searched, *(note for tried in section.tried if (note := _edge(tried)))]


def _at_edge(found: FoundRate | None) -> bool:
    return found is not None and not found.inside


def _edge(tried: TriedRates) -> str:
    """Where the chosen rate is the lowest or highest of several that it was chosen among."""
    if (
        tried.searched
        or tried.chosen is None
        or len(tried.rates) < 2
        or tried.chosen not in (tried.rates[0], tried.rates[-1])
    ):
        return ""
    end, other = ("lowest", "lower") if tried.chosen == tried.rates[0] else ("highest", "higher")
    return (
        f"The best learning rate of {tried.arm}, {tried.chosen:g}, is the {end} that was tried: "
        f"a {other} one may be better."
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
