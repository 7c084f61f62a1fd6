"""A sweep that goes on, seed by seed, until every arm of it is decided: `sweep ... --until decided`.

Each arm is made with the lowest seeds that are given for it, FIRST of them that count. Then, round after round, each
arm that is undecided, and with it the reference, is made with one seed more, the next higher one. All that a round
depends on is in the table, so a sweep that was stopped or killed goes on by the same command. That looking after each
seed raises no false rate is held by the plan that is settled before the first run, with `looks: every seed`. An arm
that was decided stays so when its reference gets more seeds: verdicts repeat the looks of earlier rounds, which the
seeds' numbers tell (`comparisons.Pairs.against`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

from ..spec.config import RunConfig
from ..spec.selection import calibration_among, rate_family
from ..spec.sweep import Sweep
from ..store.folders import Store
from .command import SweepCommand
from .engine import Engine
from .plan import Planned, due, overview, plan
from .processes import worker_count
from .scheduler import WAIT_S, PrintLine
from .sweep import SweepOutput, make_runs, say_how_it_ended

FIRST = 2  # seeds that an arm needs before anything may be concluded on it

Undecided = tuple[str, Sequence[str]]  # the name of an arm; the arms (`RunConfig.arm`) of which it needs another seed
Judge = Callable[[], list[Undecided]]  # by all that is in the table now


class Rounds:
    """How many of its seeds each arm of a sweep is made with by now.

    Arms that differ in learning rate alone have their seeds together. Where there are several rates, the first seed
    chooses among them and does not count.
    """

    def __init__(self, sweep: Sweep, planned: Sequence[Planned]) -> None:
        """Begin where the runs that are there already have come to.

        Args:
            planned: the plan of the whole sweep.
        """
        self._sweep = sweep
        self._calibration = calibration_among(sweep.runs)
        self._family = {run.run_id: rate_family(run.protocol, run, self._calibration) for run in sweep.runs}
        self._of_arm = {run.arm: self._family[run.run_id] for run in sweep.runs}
        self._seeds: dict[Hashable, list[int]] = {}
        rates: dict[Hashable, set[float]] = {}
        for run in sweep.runs:
            seeds = self._seeds.setdefault(self._family[run.run_id], [])
            seeds += [] if run.seed in seeds else [run.seed]
            rates.setdefault(self._family[run.run_id], set()).add(run.lr)
        for seeds in self._seeds.values():
            seeds.sort()
        made: dict[Hashable, set[int]] = {}
        for p in planned:
            if p.state not in ("owed", "waiting"):
                made.setdefault(self._family[p.run.run_id], set()).add(p.run.seed)
        self._count = {
            family: min(len(seeds), max(FIRST + (len(rates[family]) > 1), len(made.get(family, ()))))
            for family, seeds in self._seeds.items()
        }

    def part(self) -> Sweep:
        """The runs to make by now."""
        return replace(self._sweep, runs=[run for run in self._sweep.runs if self._is_in(run)])

    def _is_in(self, run: RunConfig) -> bool:
        family = self._family[run.run_id]
        return run.seed in self._seeds[family][: self._count[family]]

    def widen(self, arms: Iterable[str]) -> bool:
        """Give some arms one seed more each; False where none of them has any left."""
        families = {self._of_arm[arm] for arm in arms if arm in self._of_arm}
        left = [family for family in families if self._count[family] < len(self._seeds[family])]
        for family in left:
            self._count[family] += 1
        return bool(left)


def run_until_decided(
    sweep: Sweep, store: Store, engine: Engine, command: SweepCommand, output: SweepOutput, judge: Judge
) -> int:
    """Make the runs of a sweep, seed by seed, until no arm is undecided, or no seed or no time is left.

    Args:
        command: the command that `sweep` was read from, with the time at which it is to end.

    Returns:
        the exit code, as `run_sweep` has it.

    Raises:
        UserError, Interrupted: as `run_sweep` raises them, or as `judge` does.
    """
    planned = plan(sweep, store)
    rounds, code = Rounds(sweep, planned), 0
    output.log(f"at most {overview(planned, store)}")
    while True:
        part = rounds.part()
        code = max(code, _make(part, store, engine, command, output))
        if code > 1:
            return code
        unmade = any(p.state in ("owed", "running") for p in plan(part, store))
        undecided = judge()
        if not undecided:
            output.log("every arm of the sweep that has a result is decided")
            break
        names = ", ".join(name for name, _ in undecided)
        if unmade:
            why = "no time is left for another run" if command.ends else "not every run could be made"
            output.log(f"undecided: {names}; {why}, and the same command goes on")
            break
        if not rounds.widen(arm for _, arms in undecided for arm in arms):
            output.log(f"undecided: {names}; all seeds that were given are used up")
            break
        output.log(f"undecided: {names}; with one seed more")
    return max(code, say_how_it_ended(part, store, output))


def _make(part: Sweep, store: Store, engine: Engine, command: SweepCommand, output: SweepOutput) -> int:
    """Make what is owed of a part, and wait for what other processes make of it."""
    code = 0
    while True:
        planned = plan(part, store)
        owed = len(due(planned, command.retry_before))
        if owed:
            if engine.engine == "local":  # a worker without a run would only start and end
                most = owed + sum(p.state == "waiting" for p in planned)
                engine = engine.model_copy(update={"workers": worker_count(part.runs, engine, most)})
            code = max(code, make_runs(part, store, engine, command, output, is_part=True))
        if code > 1 or not _wait_for_others(part, store, output.log):
            return code


def _wait_for_others(part: Sweep, store: Store, log: PrintLine) -> bool:
    """Wait while other processes make runs of a part; whether one has left a run that is to be made after all."""
    waited = False
    while "running" in (states := [p.state for p in plan(part, store)]):
        if not waited:
            log(f"waiting for {states.count('running')} runs that other processes make")
        waited = True
        time.sleep(WAIT_S)
    return waited and "owed" in states
