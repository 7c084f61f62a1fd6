"""Make the trials of a tune, arm after arm, until each has had its budget.

The state of a search is its recorded trials and nothing else: a tune that was killed goes on where it was, one that was
finished makes nothing, and one with a larger budget goes on from its end. Two processes can make one tune.

Neither Optuna nor Ray Tune is used. Their samplers and schedulers keep a study of their own, beside the evidence, and
stop and promote trials by what was in flight; what is needed here is a deterministic function of the recorded trials
that also widens its grid, gives every arm the same number of trials, and survives a kill by content: spec/search.py,
some sixty lines of arithmetic over runs that can be gone on with already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from ..core.errors import first_line
from ..core.signals import handle_signals
from ..run.context import RunContext
from ..run.trial import clear_recorded, make_trial
from ..spec.search import Search, goes_on, rate_at, replay
from ..spec.tried import Point, Tried, of_steps
from ..spec.tune import Tune, TunedArm, trial_id
from ..store.folders import Store
from ..store.table import read_records
from ..store.trials import TrialRecord, read_trials


class TuneOutput(Protocol):
    """Prints what goes on in a tune."""

    def log(self, text: str) -> None:
        """A line about the tune."""


@dataclass(frozen=True)
class ArmSearch:
    """How far the search of an arm is.

    Args:
        tried: its trials in the order of the search, cut off where the search stops them.
        owed: the one that comes next; None where the budget is used up.
    """

    arm: TunedArm
    search: Search
    tried: list[Tried]
    owed: Point | None
    records: dict[Point, TrialRecord] = field(default_factory=dict)


def searches(tune: Tune, store: Store) -> list[ArmSearch]:
    """The state of each arm's search, by the recorded trials."""
    recorded = {record.trial_id: record for record in read_trials(store)}
    return [arm_search(tune, arm, recorded) for arm in tune.arms]


def arm_search(tune: Tune, arm: TunedArm, recorded: Mapping[str, TrialRecord]) -> ArmSearch:
    search, used = tune.search(arm), dict[Point, TrialRecord]()

    def losses_of(point: Point) -> tuple[list[float], bool] | None:
        record = recorded.get(trial_id(tune.trial(arm, point)))
        if record is None:
            return None
        used[point] = record
        return losses_in(record)

    tried, owed = replay(search, losses_of)
    return ArmSearch(arm, search, tried, owed, {t.point: used[t.point] for t in tried})


def losses_in(record: TrialRecord) -> tuple[list[float], bool]:
    """What a search sees of a recorded trial: see `replay`."""
    return [loss for _, loss in record.losses], record.state == "diverged"


def run_tune(tune: Tune, store: Store, output: TuneOutput) -> int:
    """Make every trial that is owed.

    Returns:
        the exit code: 1 where the machine failed a trial of an arm, whose search stays where it was.

    Raises:
        UserError: an arm cannot be made.
        Interrupted: SIGINT or SIGTERM came; what was trained is kept for the next try.
    """
    code = 0
    with handle_signals() as stop:
        context = RunContext(store, stop=stop)
        for arm in tune.arms:
            try:
                _make(tune, arm, context, output)
            except (RuntimeError, MemoryError) as error:  # torch tells of devices and memory by RuntimeErrors
                output.log(f"failed: {arm.name}: {first_line(error)}; the same command goes on with it")
                code = 1
    return code


def _make(tune: Tune, arm: TunedArm, context: RunContext, output: TuneOutput) -> None:
    """Make the trials of an arm until its budget is used up."""
    for record in _read_search(tune, arm, context.store).records.values():
        clear_recorded(record.trial_id, context.store)
    while (state := _read_search(tune, arm, context.store)).owed is not None:
        record = _make_one(tune, state, state.owed, context, output)
        output.log(f"  {outcome_line(record)}")


def _read_search(tune: Tune, arm: TunedArm, store: Store) -> ArmSearch:
    return arm_search(tune, arm, {record.trial_id: record for record in read_trials(store)})


def _make_one(tune: Tune, state: ArmSearch, point: Point, context: RunContext, output: TuneOutput) -> TrialRecord:
    """Make the trial that a search owes."""
    run = tune.trial(state.arm, point)
    name = trial_id(run)
    before = {trial_id(tune.trial(state.arm, t.point)): state.records[t.point] for t in state.tried}

    def continues(losses: Sequence[float]) -> bool:
        return goes_on(state.search, state.tried, point, losses)

    def is_enough(record: TrialRecord) -> bool:
        return len(arm_search(tune, state.arm, before | {name: record}).tried) > len(state.tried)

    output.log(f"[{len(state.tried) + 1}/{tune.budget}] {_named(state.arm, tune.axis, point)}: {name}")
    return make_trial(run, name, continues, is_enough, context)


def _named(arm: TunedArm, axis: str | None, point: Point) -> str:
    value = arm.values[point.value]
    setting = [] if value is None else [f"{axis}={value}"]
    return " ".join([arm.name, *setting, f"lr={rate_at(point.place):g}", f"steps={point.steps}"])


def outcome_line(record: TrialRecord) -> str:
    """What came of a trial, in a line."""
    if record.state == "diverged":
        return f"diverged: {record.error}"
    loss = f"validation loss {record.loss:.4f}"
    stopped = f"stopped after {record.steps_made} of {record.steps} steps, " if record.state == "stopped" else ""
    return f"{stopped}{loss}, {record.seconds:.0f} s"


def estimate(states: Sequence[ArmSearch], store: Store) -> float | None:
    """Seconds that one process would take for what is owed, at most; None where no run like it was timed.

    By the trials of the same variant and steps that reached their end; else by the training of its finished runs, a
    step at a time.
    """
    trials = [record for record in read_trials(store) if record.state == "done"]
    records = [record for record in read_records(store.table) if record.train_s and record.steps]
    total, known = 0.0, False
    for state in states:
        variant, model = state.arm.runs[0].variant, state.arm.runs[0].model
        for steps, owed in owed_by_steps(state).items():
            each = [t.seconds for t in trials if (t.variant, t.steps, t.model) == (variant, steps, model)]
            each = each or [
                (r.train_s or 0.0) / (r.steps or 1) * steps for r in records if (r.variant, r.model) == (variant, model)
            ]
            known = known or bool(each)
            total += owed * (median(each) if each else 0.0)
    return total if known else None


def owed_by_steps(state: ArmSearch) -> dict[int, int]:
    """How many trials of each length an arm still owes."""
    return {steps: count - len(of_steps(state.tried, steps)) for steps, count in state.search.budget_by_steps.items()}
