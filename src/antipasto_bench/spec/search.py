"""Which trial of a search comes next, as a pure function of those before it: no torch, no clock, no randomness.

A search looks for the learning rate of least held-out loss, for each value of one other setting where one is given.
Rates stand on a ladder, a quarter of a decade apart, and a place on it is a whole number. The trials of a value are

1. its first rate and those half a decade below and above it;
2. while the best is the lowest or the highest that was tried, one half a decade further out;
3. once it lies inside, those a quarter of a decade beside it;
4. after that, the three best rates again on further seeds: between rates nearer than a quarter of a decade a seed makes
   more difference than the rate.

A trial is measured at rungs: before its first step, after a quarter and half of them, and at its end. It is stopped at
one where a rate that is half a decade higher, or more, was ahead, or where after half of its steps it is worse than the
untuned model. Of the schedule
of the whole trial a rung sees rates that are not decayed yet, and a high rate gains the most by the decay: on the
embedded model the best rate of lora is the last of all at a third of the steps, by a factor of two. So it takes a
higher rate that is ahead to tell that a lower one will stay behind; successive halving, which keeps the better half at
each rung (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020), would keep the wrong one. A trial
that was stopped or diverged is one of the budget, and ranks behind all that were not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log10
from statistics import fmean
from typing import NamedTuple

SERIES = (1, 2, 3, 5)  # a quarter of a decade apart, as people write them
COARSE, FINE = 2, 1  # steps on the ladder
RUNGS = (4, 2)  # a trial is measured after its steps divided by these, too
CONTENDERS = 3


def rate_at(place: int) -> float:
    """The learning rate at a place of the ladder: 1, 2, 3, 5 times a power of ten; place 0 is 1."""
    decade, index = divmod(place, len(SERIES))
    return float(f"{SERIES[index]}e{decade}")


def place_of(rate: float) -> int:
    """The place of the ladder that is nearest to a rate by its logarithm."""
    near = round(len(SERIES) * log10(rate))
    return min(range(near - 2, near + 3), key=lambda place: abs(log10(rate_at(place) / rate)))


def rung_steps(steps: int) -> tuple[int, ...]:
    """The steps behind which a trial of so many is measured: 0, before the first, and its end among them."""
    return (*sorted({0, *(steps // part for part in RUNGS)} - {steps}), steps)


class Point(NamedTuple):
    """What a trial tries."""

    value: int  # index of the other setting's value; 0 where there is none
    place: int  # of its learning rate on the ladder
    seed: int


class Tried(NamedTuple):
    """What came of a trial."""

    point: Point
    losses: tuple[float, ...]  # at the rungs that it reached, the first one that of the untuned model
    state: str  # done, stopped, diverged

    def at(self, rung: int) -> float:
        """Its loss at a rung; infinite where it was stopped before, and where it diverged, be it later."""
        return self.losses[rung] if rung < len(self.losses) and self.state != "diverged" else inf


@dataclass(frozen=True)
class Search:
    """What one arm's search is given.

    Args:
        budget: trials.
        begins: the place on the ladder where the search of each value begins.
        seeds: of trials; the first for all rates, the others for step 4, which counts on from the last.
        rungs: at which a trial is measured, its end among them.
    """

    budget: int
    begins: tuple[int, ...]
    seeds: tuple[int, ...]
    rungs: int = len(RUNGS) + 2

    def seed(self, number: int) -> int:
        return self.seeds[number] if number < len(self.seeds) else self.seeds[-1] + number - len(self.seeds) + 1


def next_point(search: Search, tried: Sequence[Tried]) -> Point | None:
    """The trial after these; None where the budget is used up. Values take turns, one trial each."""
    if len(tried) >= search.budget:
        return None
    value = len(tried) % len(search.begins)
    own = [trial for trial in tried if trial.point.value == value]
    place = _next_place(search.begins[value], own)
    return Point(value, place, search.seeds[0]) if place is not None else _again(search, value, own)


def _next_place(begin: int, own: Sequence[Tried]) -> int | None:
    """The next rate of a value that was not tried; None where the best one has both its neighbours."""
    places, losses = {trial.point.place for trial in own}, _losses(own)
    if begin not in places:
        return begin
    if not losses:  # all of them diverged, and a higher rate would, too
        return min(places) - COARSE
    too_high = min((trial.point.place for trial in own if trial.state == "diverged"), default=None)
    for place in (begin - COARSE, begin + COARSE):
        if place not in places and (too_high is None or place < too_high):
            return place
    best = min(losses, key=lambda place: losses[place])
    if best == min(places):
        return best - COARSE
    if best == max(places):
        return best + COARSE
    beside = [near for near in (best - FINE, best + FINE) if near not in places]
    return min(beside, key=lambda near: losses.get(2 * near - best, inf), default=None)  # towards the better side


def _again(search: Search, value: int, own: Sequence[Tried]) -> Point:
    """One of a value's best rates, on the next seed that it has not had."""
    losses = _losses(own)
    count = {place: sum(trial.point.place == place for trial in own) for place in losses}
    best = sorted(losses, key=lambda place: losses[place])[:CONTENDERS]
    place = min(best, key=lambda place: count[place])  # of equally many trials the better one
    return Point(value, place, search.seed(count[place]))


def goes_on(search: Search, tried: Sequence[Tried], point: Point, losses: Sequence[float]) -> bool:
    """Whether a trial goes on behind the last rung that it reached.

    Args:
        tried: the trials before it.
        losses: at its rungs so far.
    """
    rung = len(losses) - 1
    if rung == search.rungs - 1:
        return False
    if rung == 0 or point.seed != search.seeds[0]:  # on further seeds the best rates alone are tried
        return True
    if rung == search.rungs - 2 and losses[rung] > losses[0]:
        return False
    alike = (trial for trial in tried if trial.point._replace(place=0) == point._replace(place=0))
    return all(t.at(rung) >= losses[rung] for t in alike if t.point.place >= point.place + COARSE)


def replay(
    search: Search, losses_of: Callable[[Point], tuple[list[float], bool] | None]
) -> tuple[list[Tried], Point | None]:
    """A search from its recorded trials, in the order in which it asks for them.

    Args:
        losses_of: what is recorded of a trial: its losses at rungs, and whether it diverged; None where it was not
            made. Losses beyond the rung at which this search stops a trial are not looked at.

    Returns:
        the trials so far, and the one that is owed: not made, or recorded by a search that stopped it earlier. None
        where the budget is used up.
    """
    tried: list[Tried] = []
    while (point := next_point(search, tried)) is not None:
        recorded = losses_of(point)
        outcome = None if recorded is None else _outcome(search, tried, point, *recorded)
        if outcome is None:
            return tried, point
        tried.append(outcome)
    return tried, None


def _outcome(
    search: Search, tried: Sequence[Tried], point: Point, losses: Sequence[float], diverged: bool
) -> Tried | None:
    """What a recorded trial is to a search; None where it is not far enough."""
    for count in range(1, len(losses) + 1):
        if not goes_on(search, tried, point, losses[:count]):
            return Tried(point, tuple(losses[:count]), "done" if count == search.rungs else "stopped")
    return Tried(point, tuple(losses), "diverged") if diverged else None


# ------------------------------------------------------------------ the outcome


class Best(NamedTuple):
    """The best rate of an arm, or of a value of its other setting."""

    value: int
    place: int
    loss: float
    lead: float | None  # how far the loss of the next rate of the same value lies above it; None where none has any
    inside: bool  # whether a lower and a higher rate were tried


def best_of(tried: Sequence[Tried], value: int | None = None) -> Best | None:
    """The rate of least loss; None where no trial reached its end.

    Args:
        value: among whose rates; all where None.
    """
    values = {trial.point.value for trial in tried} if value is None else {value}
    found = [best for each in sorted(values) if (best := _best(tried, each)) is not None]
    return min(found, key=lambda best: best.loss, default=None)


def _best(tried: Sequence[Tried], value: int) -> Best | None:
    own = [trial for trial in tried if trial.point.value == value]
    ranked = sorted((loss, place) for place, loss in _losses(own).items())
    if not ranked:
        return None
    (loss, place), places = ranked[0], [trial.point.place for trial in own]
    lead = ranked[1][0] - loss if len(ranked) > 1 else None
    return Best(value, place, loss, lead, min(places) < place < max(places))


def losses_by_place(tried: Sequence[Tried], value: int) -> dict[int, float]:
    """The loss of each rate of a value whose trials reached their end, by its place, see `_losses`."""
    return _losses([trial for trial in tried if trial.point.value == value])


def _losses(own: Sequence[Tried]) -> dict[int, float]:
    """The loss of each place: the mean over its seeds, each seed's loss less what that seed adds to all of its places.

    What a seed adds is measured against the first trials of the same places, so a rate that was tried on a lucky seed
    has no advantage.
    """
    first: dict[int, float] = {}
    seeds: dict[int, dict[int, float]] = {}
    for trial in own:
        if trial.state == "done":
            first.setdefault(trial.point.place, trial.losses[-1])
            seeds.setdefault(trial.point.seed, {})[trial.point.place] = trial.losses[-1]
    added = {seed: fmean(loss - first[place] for place, loss in losses.items()) for seed, losses in seeds.items()}
    return {
        place: fmean(losses[place] - added[seed] for seed, losses in seeds.items() if place in losses)
        for place in first
    }
