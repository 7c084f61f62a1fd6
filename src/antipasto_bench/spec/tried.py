"""What came of the trials of a search, and which rate is the best of them: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from statistics import fmean
from typing import NamedTuple

RUNGS = (4, 2)  # a trial is measured after its steps divided by these, too


def rung_steps(steps: int) -> tuple[int, ...]:
    """The steps behind which a trial of so many is measured: 0, before the first, and its end among them."""
    return (*sorted({0, *(steps // part for part in RUNGS)} - {steps}), steps)


class Point(NamedTuple):
    """What a trial tries."""

    value: int  # index of the other setting's value; 0 where there is none
    place: int  # of its learning rate on the ladder
    seed: int
    steps: int  # of its whole schedule


class Tried(NamedTuple):
    """What came of a trial."""

    point: Point
    losses: tuple[float, ...]  # at the rungs that it reached, the first one that of the untuned model
    state: str  # done, stopped, diverged

    def at(self, rung: int) -> float:
        """Its loss at a rung; infinite where it was stopped before, and where it diverged, be it later."""
        return self.losses[rung] if rung < len(self.losses) and self.state != "diverged" else inf


def of_steps(tried: Sequence[Tried], steps: int) -> list[Tried]:
    """Those of so many steps: losses of different ones are not compared."""
    return [trial for trial in tried if trial.point.steps == steps]


def said_budget(counts: Mapping[int, int]) -> str:
    """How many trials of how many steps, in words.

    Args:
        counts: trials by their steps.
    """
    said = [f"{count} trials of {steps} steps" for steps, count in sorted(counts.items()) if count]
    return " and ".join(said)


def losses_by_place(tried: Sequence[Tried], value: int) -> dict[int, float]:
    """The loss of each rate of a value whose trials reached their end, by its place, see `losses_of`.

    Args:
        tried: trials of the same steps.
    """
    return losses_of([trial for trial in tried if trial.point.value == value])


def losses_of(own: Sequence[Tried]) -> dict[int, float]:
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


class Best(NamedTuple):
    """The best rate of an arm, or of a value of its other setting, among the trials of the most steps."""

    value: int
    place: int
    loss: float
    lead: float | None  # how far the loss of the next rate of the same value lies above it; None where none has any
    inside: bool  # whether a lower and a higher rate were tried with as many steps
    steps: int


def best_of(tried: Sequence[Tried], value: int | None = None) -> Best | None:
    """The rate of least loss among the trials of the most steps; None where none of those reached its end.

    Args:
        value: among whose rates; all where None.
    """
    among = [trial for trial in tried if value is None or trial.point.value == value]
    steps = max((trial.point.steps for trial in among), default=0)
    values = sorted({trial.point.value for trial in among})
    found = [best for each in values if (best := _best(of_steps(among, steps), each)) is not None]
    return min(found, key=lambda best: best.loss, default=None)


def _best(tried: Sequence[Tried], value: int) -> Best | None:
    own = [trial for trial in tried if trial.point.value == value]
    ranked = sorted((loss, place) for place, loss in losses_of(own).items())
    if not ranked:
        return None
    (loss, place), places = ranked[0], [trial.point.place for trial in own]
    lead = ranked[1][0] - loss if len(ranked) > 1 else None
    return Best(value, place, loss, lead, min(places) < place < max(places), own[0].point.steps)
