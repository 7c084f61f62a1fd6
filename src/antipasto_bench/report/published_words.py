"""Sentences that say what a published table of one seed a row can tell.

Each is made of a judged table, and says something else, or nothing, where the table does not bear it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from statistics import median

from ..analysis.published import (
    JudgedTable,
    Repeats,
    Standing,
    at_best,
    better,
    largest_of,
    standings,
    units_needed,
    unpaired,
)
from .markup import escaped

SHOWN = 12  # rows of a table, and those whose neighbours are told apart
TOP = 8  # rows whose span is told


def first_place(table: JudgedTable) -> str:
    """Which rows may be the best one."""
    first, last = table.rows[0], len(table.rows)
    may = [row for row, standing in zip(table.rows, table.unpaired, strict=True) if standing.ranks[0] == 1]
    top = f"{escaped(first.name)} ({percent(first.accuracy)})"
    if len(may) == 1:
        return f"{top} is the best of {last} rows, even if nothing is gained by pairing."
    least = percent(min(row.accuracy for row in may))
    if len(may) == last:
        return f"As published, any of the {last} rows may be the best: {top} leads, and is not separated from {least}."
    best = sum(standing.ranks[0] == 1 for standing in table.at_best)
    still = f"{best} still may" if best > 1 else "it alone may"
    return (
        f"First place is open: {top} leads, but {len(may)} of {last} rows, down to {least}, may be the best as "
        f"published, and {still} if pairing the answers removed all noise but that of runs."
    )


def against_reference(table: JudgedTable) -> str:
    """How many rows are better and worse than the reference, as published and at best."""
    others = len(table.rows) - 1
    known, best = (_counts(side) for side in (table.unpaired, table.at_best))
    name = f"{escaped(table.reference.name)} ({percent(table.reference.accuracy)})"
    told = f"Against {name}, {_rows(*known)} as published"
    if sum(known) == others:
        return f"{told}: all {others} are decided."
    left = f", and {others - sum(known)} of {others} are undecided"
    if best == known:
        return f"{told}{left}; the answers themselves, if published, would decide no more."
    return f"{told}{left}; the answers themselves, if published, would make that {best[0]} and {best[1]} at best."


def closeness(table: JudgedTable) -> str:
    """Whether neighbours among the first rows lie closer than single runs can separate; empty where they do not."""
    shown = table.rows[:SHOWN]
    gaps = [a.accuracy - b.accuracy for a, b in pairwise(shown)]
    if median(gaps) >= table.needed_at_best():
        return ""
    seeds = [units_needed(d / 100, 2 * table.seed_sd**2) for d in (1, 2)]
    return (
        f"Neighbours among the first {len(shown)} rows are {points(median(gaps))} points apart (median), and one run "
        f"each separates none closer than {points(table.needed_at_best())}: to show 1 point four times in five takes "
        f"{seeds[0]} seeds of each row, 2 points {seeds[1]}."
    )


def span(table: JudgedTable) -> str:
    """How far the top rows lie apart, beside what separates two rows of a planned comparison."""
    top = table.rows[:TOP]
    width = top[0].accuracy - top[-1].accuracy
    low, high = table.needed_at_best(), table.needed()
    if width < low:
        verdict = "less than two single runs separate at best"
    elif width < high:
        verdict = "more than two single runs separate at best, and less than they do as published"
    else:
        verdict = "more than two single runs need as published"
    return (
        f"The first {len(top)} rows span {points(width)} points: {verdict} "
        f"({points(low)} and {points(high)}, for one planned pair)."
    )


def heavy_tail(repeats: Repeats) -> str:
    """Whether the largest difference is beyond what the median leads to expect; empty where it is not."""
    expected = largest_of(repeats.pairs, repeats.run_sd)
    if repeats.largest <= expected:
        return ""
    return (
        f"If differences were normal, the largest of {repeats.pairs} would be about {expected:.1f} points and not "
        f"{repeats.largest}: some runs are far noisier, or code changed between them."
    )


def surviving(table: JudgedTable) -> str:
    """How many pairs of rows are separated over questions alone, with the noise of runs, and at best."""
    n = len(table.rows)
    sides = (unpaired, partial(unpaired, seed_sd=table.seed_sd), partial(at_best, seed_sd=table.seed_sd))
    alone, both, best = (int(better(table.rows, side).sum()) for side in sides)
    pairs = f"{n * (n - 1) // 2} pairs"
    at_most = f"at best {best} would be" if best else "nor would be any at best"
    if not alone:
        return f"None of {pairs} is separated, not even over questions alone; {at_most}."
    stand = f"{both} of them stand" if both < alone else "all of them stand"
    return f"Of {pairs}, {alone} are separated over questions alone; with the noise of runs {stand}; {at_most}."


def sensitivity(table: JudgedTable, seed_sd: float) -> str:
    """Which verdicts at best change with another standard deviation of runs."""
    other = _counts(standings(table.rows, table.reference, partial(at_best, seed_sd=seed_sd)))
    mine = _counts(table.at_best)
    told = f"With {points(seed_sd, 2)} points in place of {points(table.seed_sd, 2)}, "
    if other == mine:
        return f"{told}as many rows would be better and worse at best."
    return (
        f"{told}{other[0]} and {other[1]} rows would be better and worse at best, in place of {mine[0]} and {mine[1]}."
    )


def _counts(side: Sequence[Standing]) -> tuple[int, int]:
    return sum(one.verdict == 1 for one in side), sum(one.verdict == -1 for one in side)


def _rows(better: int, worse: int) -> str:
    if not better and not worse:
        return "no row is better or worse"
    counted = {0: "no row is", 1: "1 row is"}.get(better, f"{better} rows are")
    return f"{counted} better and {worse or 'none'} worse"


def percent(accuracy: float) -> str:
    return f"{100 * accuracy:.1f} %"


def points(accuracy: float, digits: int = 1) -> str:
    """An accuracy or a difference of two, [-1, 1], in points."""
    return f"{100 * accuracy:.{digits}f}"
