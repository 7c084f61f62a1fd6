"""Which trial of a search comes next, as a pure function of those before it: no torch, no clock, no randomness.

A search looks for the learning rate of least held-out loss, for each value of one other setting where one is given.
Rates stand on a ladder, a quarter of a decade apart, and a place on it is a whole number. The trials of a value are

1. its first rate and those half a decade below and above it;
2. while the best is the lowest or the highest that was tried, one half a decade further out;
3. once it lies inside, those a quarter of a decade beside it;
4. after that, the three best rates again on further seeds: between rates nearer than a quarter of a decade a seed makes
   more difference than the rate.

These trials are short, and the shorter a run, the lower its best rate. So the last of the budget, the finals, have the
whole steps of the run:

1. the best rate of the short trials;
2. while the best of the finals is the highest of them, the rate a quarter of a decade above it;
3. then the one below the best, and on downwards while that is better;
4. after that, the best of the finals again on further seeds.

The best of the finals is chosen: losses of different steps are never compared.

A trial is measured at rungs: before its first step, after a quarter and half of them, and at its end. It is stopped at
one where a rate that is half a decade higher, or more, was ahead, or where after half of its steps it is worse than the
untuned model. Of the schedule of the whole trial a rung sees rates that are not decayed yet, and a high rate gains the
most by the decay: on the embedded model the best rate of lora is the last of all at a third of the steps, by a factor
of two. So it takes a higher rate that is ahead to tell that a lower one will stay behind; successive halving, which
keeps the better half at each rung (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020), would keep
the wrong one. A trial that was stopped or diverged is one of the budget, and ranks behind all that were not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log10

from .tried import Point, Tried, losses_of, of_steps, rung_steps

SERIES = (1, 2, 3, 5)  # a quarter of a decade apart, as people write them
COARSE, FINE = 2, 1  # steps on the ladder
CONTENDERS = 3
FINALS = 4  # one in so many trials is a final
FEWEST_FINALS = 2  # the best short rate, and the one above it


def rate_at(place: int) -> float:
    """The learning rate at a place of the ladder: 1, 2, 3, 5 times a power of ten; place 0 is 1."""
    decade, index = divmod(place, len(SERIES))
    return float(f"{SERIES[index]}e{decade}")


def place_of(rate: float) -> int:
    """The place of the ladder that is nearest to a rate by its logarithm."""
    near = round(len(SERIES) * log10(rate))
    return min(range(near - 2, near + 3), key=lambda place: abs(log10(rate_at(place) / rate)))


def finals_of(budget: int, values: int) -> int:
    """How many of a budget have the whole steps of the run: a quarter, and two or more of each value.

    Args:
        values: of the other setting, of the arm that has the most: the arms beside it have as many finals.

    Returns:
        none where a value has less than four trials.
    """
    share = budget // values
    return values * max(FEWEST_FINALS, share // FINALS) if share >= 2 * FEWEST_FINALS else 0


@dataclass(frozen=True)
class Search:
    """What one arm's search is given.

    Args:
        budget: trials.
        begins: the place on the ladder where the search of each value begins.
        seeds: of trials; the first for all rates, the others for step 4, which counts on from the last.
        steps: of a short trial.
        whole: steps of a final.
        finals: how many of the budget are finals.
    """

    budget: int
    begins: tuple[int, ...]
    seeds: tuple[int, ...]
    steps: int
    whole: int
    finals: int = 0

    @property
    def budget_by_steps(self) -> dict[int, int]:
        """Trials by their steps."""
        return {self.steps: self.budget - self.finals} | ({self.whole: self.finals} if self.finals else {})

    def seed(self, number: int) -> int:
        return self.seeds[number] if number < len(self.seeds) else self.seeds[-1] + number - len(self.seeds) + 1


def next_point(search: Search, tried: Sequence[Tried]) -> Point | None:
    """The trial after these; None where the budget is used up. Values take turns, one trial each."""
    if len(tried) >= search.budget:
        return None
    value = len(tried) % len(search.begins)
    own = [trial for trial in tried if trial.point.value == value]
    final = len(tried) >= search.budget - search.finals
    place = _next_final(search, own) if final else _next_place(search.begins[value], own)
    steps = search.whole if final else search.steps
    return Point(value, place, search.seeds[0], steps) if place is not None else _again(search, own, steps)


def _next_place(begin: int, own: Sequence[Tried]) -> int | None:
    """The next rate of a value that was not tried; None where the best one has both its neighbours."""
    places, losses = {trial.point.place for trial in own}, losses_of(own)
    if begin not in places:
        return begin
    if not losses:  # all of them diverged, and a higher rate would, too
        return min(places) - COARSE
    too_high = _too_high(own)
    for place in (begin - COARSE, begin + COARSE):
        if place not in places and place < too_high:
            return place
    best = min(losses, key=lambda place: losses[place])
    if best == min(places):
        return best - COARSE
    if best == max(places):
        return best + COARSE
    beside = [near for near in (best - FINE, best + FINE) if near not in places]
    return min(beside, key=lambda near: losses.get(2 * near - best, inf), default=None)  # towards the better side


def _next_final(search: Search, own: Sequence[Tried]) -> int | None:
    """The next rate of a value to try with the run's steps; None where the best one has both its neighbours."""
    whole = of_steps(own, search.whole)
    places, losses = {trial.point.place for trial in whole}, losses_of(whole)
    if not losses:
        short = losses_of(of_steps(own, search.steps))
        if short and not whole:
            return min(short, key=lambda place: short[place])
        return min(trial.point.place for trial in whole or own) - COARSE
    best = min(losses, key=lambda place: losses[place])
    too_high = _too_high(own)
    return next((near for near in (best + FINE, best - FINE) if near not in places and near < too_high), None)


def _too_high(own: Sequence[Tried]) -> float:
    """The lowest place that diverged; infinite where none did."""
    return min((trial.point.place for trial in own if trial.state == "diverged"), default=inf)


def _again(search: Search, own: Sequence[Tried], steps: int) -> Point:
    """One of a value's best rates, on the next seed that it has not had."""
    alike = of_steps(own, steps)
    losses = losses_of(alike)
    count = {place: sum(trial.point.place == place for trial in alike) for place in losses}
    best = sorted(losses, key=lambda place: losses[place])[:CONTENDERS]
    place = min(best, key=lambda place: count[place])  # of equally many trials the better one
    return Point(own[0].point.value, place, search.seed(count[place]), steps)


def goes_on(search: Search, tried: Sequence[Tried], point: Point, losses: Sequence[float]) -> bool:
    """Whether a trial goes on behind the last rung that it reached.

    Args:
        tried: the trials before it.
        losses: at its rungs so far.
    """
    rung, end = len(losses) - 1, len(rung_steps(point.steps)) - 1
    if rung == end:
        return False
    if rung == 0 or point.seed != search.seeds[0]:  # on further seeds the best rates alone are tried
        return True
    if rung == end - 1 and losses[rung] > losses[0]:
        return False
    alike = (trial for trial in tried if trial.point._replace(place=0) == point._replace(place=0))
    return all(t.at(rung) >= losses[rung] for t in alike if t.point.place >= point.place + COARSE)


def replay(
    search: Search, recorded_of: Callable[[Point], tuple[list[float], bool] | None]
) -> tuple[list[Tried], Point | None]:
    """A search from its recorded trials, in the order in which it asks for them.

    Args:
        recorded_of: what is recorded of a trial: its losses at rungs, and whether it diverged; None where it was not
            made. Losses beyond the rung at which this search stops a trial are not looked at.

    Returns:
        the trials so far, and the one that is owed: not made, or recorded by a search that stopped it earlier. None
        where the budget is used up.
    """
    tried: list[Tried] = []
    while (point := next_point(search, tried)) is not None:
        recorded = recorded_of(point)
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
            return Tried(point, tuple(losses[:count]), "done" if count == len(rung_steps(point.steps)) else "stopped")
    return Tried(point, tuple(losses), "diverged") if diverged else None
