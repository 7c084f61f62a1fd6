"""Which learning rate an adapter is shown at, of several that it was tried at, and what that leaves to be averaged.

The rate that a search of `tune` found, where there is one: it was found on seeds that no result has. Else the one that
validation chooses among the results. The seed that chooses is lucky for the rate that it chooses: of several equal
rates, the best of one seed each is better there than it is elsewhere. So it is left out of the arm's mean wherever
another seed has a result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..spec.selection import (
    DIVERGED,
    CalibrationOf,
    Choice,
    Validation,
    calibration_among,
    choose_rate,
    choosing_seed,
    rate_family,
)
from ..store.outcomes import validation_of
from ..store.record import RunRecord
from .arms import Runs, by_arm
from .found_rates import FoundRate

Family = tuple[Hashable, ...]  # what runs share that differ in learning rate and seed alone


@dataclass(frozen=True)
class RateFamily:
    """Runs that differ in learning rate and seed alone; at least one of them finished."""

    finished: list[RunRecord]
    diverged: list[RunRecord]
    lost: dict[float, RunRecord]  # by rate, those of which the machine failed a run and none has an outcome
    found: FoundRate | None = None  # what a search found for them

    @property
    def tried(self) -> dict[float, dict[int, Validation]]:
        """What validation says, by learning rate and seed; empty where nothing is trained."""
        tried: dict[float, dict[int, Validation]] = {}
        for record in [*self.finished, *self.diverged]:
            validation = validation_of(record)
            if record.lr is not None and record.seed is not None and validation is not None:
                tried.setdefault(record.lr, {})[record.seed] = validation
        return tried

    @property
    def choice(self) -> Choice | None:
        """By validation. None where there was a single rate, where a search has found one, and where one is without a
        result: it may be the best.
        """
        return None if self.at_found else self._validated

    @cached_property
    def _validated(self) -> Choice | None:
        return choose_rate(self.tried) if len(self.tried) > 1 and not self.lost else None

    @cached_property
    def at_found(self) -> list[Runs]:
        """The arm at the rate that a search found, on seeds that the search did not have; empty where there is none.

        Where validation chose another rate and more seeds were made there, as a sweep does that chooses on its way,
        that one says more: it is then left to validation.
        """
        found = self.found
        if found is None:
            return []
        arms = [_on_other_seeds(runs, found.seeds) for runs in self.arms if runs.finished[0].lr == found.lr]
        arms = [runs for runs in arms if runs.finished]
        validated = [] if (choice := self._validated) is None else self._at(choice)
        most = max((_seeds(runs) for runs in validated), default=0)
        return [runs for runs in arms if _seeds(runs) >= most]

    @property
    def lr(self) -> float | None:
        """The rate that is shown; None where none was chosen."""
        if self.found is not None and self.at_found:
            return self.found.lr
        return None if self.choice is None else self.choice.lr

    @property
    def chosen(self) -> list[Runs]:
        """The arm at the chosen rate, without the seed that chose it where another has a result.

        Every arm, of all its seeds, where no rate was chosen.
        """
        choice = self.choice
        return self.at_found or (self.arms if choice is None else self._at(choice))

    def _at(self, choice: Choice) -> list[Runs]:
        return [_without_choosing(runs, choice) for runs in self.arms if runs.finished[0].lr == choice.lr]

    @cached_property
    def arms(self) -> list[Runs]:
        """The arm of each rate that a run finished at, of all its seeds."""
        return by_arm(self.finished, self.diverged)

    def cells(self) -> tuple[int | None, list[tuple[str, bool]]]:
        """The seed that chooses; and each rate with its validation accuracy on it, True for the chosen one."""
        tried = self.tried
        seed = choosing_seed(tried)
        return seed, [(f"{lr:g}: {_said(by_seed, seed)}", lr == self.lr) for lr, by_seed in sorted(tried.items())]


def rate_families(
    finished: Sequence[RunRecord],
    diverged: Sequence[RunRecord],
    lost: Sequence[RunRecord],
    found: Callable[[RunRecord], FoundRate | None] = lambda record: None,
) -> list[RateFamily]:
    """The families of some runs, in the order of their first finished ones.

    Args:
        diverged, lost: runs that ended non-finite, and that the machine failed; those of other families are left out.
        found: `FoundRates.of`.
    """
    calibration = calibration_among(record.config for record in [*finished, *diverged, *lost])
    diverged_of, lost_of = _by_family(diverged, calibration), _by_family(lost, calibration)
    families = []
    for key, members in _by_family(finished, calibration).items():
        others = diverged_of.get(key, [])
        have_outcome = {record.lr for record in [*members, *others]}
        without = {record.lr: record for record in lost_of.get(key, ()) if record.lr is not None}
        owed = {lr: record for lr, record in without.items() if lr not in have_outcome}
        families.append(RateFamily(members, others, owed, found(members[0])))
    return families


def _by_family(records: Sequence[RunRecord], calibration: CalibrationOf) -> dict[Family, list[RunRecord]]:
    families: dict[Family, list[RunRecord]] = {}
    for record in records:
        families.setdefault(rate_family(record.protocol, record.config, calibration), []).append(record)
    return families


def _on_other_seeds(runs: Runs, seeds: Collection[int | None]) -> Runs:
    finished, diverged = (
        [record for record in records if record.seed not in seeds] for records in (runs.finished, runs.diverged)
    )
    return runs._replace(finished=finished, diverged=diverged)


def _seeds(runs: Runs) -> int:
    return len(runs.finished) + len(runs.diverged)


def _without_choosing(runs: Runs, choice: Choice) -> Runs:
    finished, diverged, _ = _on_other_seeds(runs, {choice.seed})
    return Runs(finished, diverged, choice.seed) if finished else runs._replace(chosen_on=choice.seed)


def _said(by_seed: dict[int, Validation], seed: int | None) -> str:
    """The validation accuracy of a rate on a seed, in percent; or why it has none."""
    validation = by_seed.get(seed) if seed is not None else None
    if all(each == DIVERGED for each in ([validation] if validation is not None else by_seed.values())):
        return "diverged"
    if validation is None:
        return "not validated on a shared seed"
    return "not validated" if validation.accuracy is None else f"{100 * validation.accuracy:.1f}"
