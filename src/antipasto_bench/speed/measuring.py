"""Times of arms that take turns, so that what slows the machine for a while slows all of them, and their ratios."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import inf
from random import Random
from statistics import median
from typing import Any

import torch

from .suite import Claim


def time_arms(
    arms: Mapping[str, Callable[[], Any]], turns: int, warm_up: int = 2, repeats: int = 1, ends: float = inf
) -> dict[str, list[float]]:
    """Milliseconds of every arm in each turn. The order of the arms is shuffled each turn, as an arm's time depends on
    the caches that the arm before it leaves.

    Args:
        arms: work by name; on a GPU the clock waits until it is done.
        turns: how many are timed, after `warm_up` turns that are not.
        repeats: how often an arm does its work in a turn. The time is the mean over repeats; where there are several,
            the first is not timed: it finds the caches full of other arms, which work that goes on for hours does not.
        ends: of `time.monotonic`; no turn but the first timed one is begun after it.
    """
    order = Random(0)
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(-warm_up, turns):
        if turn != 0 and time.monotonic() > ends:
            continue
        for name in order.sample(list(arms), len(arms)):
            if repeats > 1:
                arms[name]()
            spent = _milliseconds(arms[name], max(1, repeats - 1))
            if turn >= 0:
                times[name].append(spent)
    return times


def compare_arms(ours: Callable[[], Any], theirs: Callable[[], Any], turns: int, bound: float, what: str) -> Claim:
    """The median over turns of our time / their time, with both arms timed one directly after the other.

    No third arm runs between them, so both meet the machine in the same state; which comes first changes from turn to
    turn. Two turns more are run before and not counted.
    """
    pairs = []
    for turn in range(-2, turns):
        if turn % 2:
            pair = [_milliseconds(ours), _milliseconds(theirs)]
        else:
            pair = [_milliseconds(theirs), _milliseconds(ours)][::-1]
        if turn >= 0:
            pairs.append(pair)
    return _claim_of_pairs(pairs, bound, what)


def claim_ratio(times: Mapping[str, list[float]], ours: str, theirs: str, bound: float, what: str = "") -> Claim:
    """The median over turns of one arm's time / another's in the same turn, from the times that `time_arms` gives."""
    pairs = [list(pair) for pair in zip(times[ours], times[theirs], strict=True)]
    return _claim_of_pairs(pairs, bound, what or f"{ours} / {theirs}")


def _milliseconds(work: Callable[[], Any], repeats: int = 1) -> float:
    """The mean time of some repeats."""
    _synchronise()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    _synchronise()
    return 1e3 * (time.perf_counter() - start) / repeats


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _claim_of_pairs(pairs: list[list[float]], bound: float, what: str) -> Claim:
    return Claim(what, median(a / b for a, b in pairs), bound, pairs)
