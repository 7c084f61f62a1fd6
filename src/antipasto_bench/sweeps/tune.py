"""Make the trials of a tune, arm after arm, until each has had its budget.

The state of a search is its recorded trials and nothing else: a tune that was killed goes on where it was, one that was
finished makes nothing, and one with a larger budget goes on from its end. Several processes can make one tune: the
trials of an arm follow from each other, so each process takes an arm whose next trial no other one makes.

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

from antipasto.config import AdapterError

from ..core.device import device_is_dead
from ..core.errors import UserError, first_line
from ..core.locks import HeldElsewhere
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


@dataclass(frozen=True)
class Ended:
    """How the making of trials ended in one process.

    Args:
        refused: arms that could not be made, with the reason.
        failed: arms of which the machine failed a trial, or of which an error ended it.
        device_is_dead: for this process, which must leave the rest to another.
    """

    refused: Mapping[str, str]
    failed: list[str]
    device_is_dead: bool = False


class Withheld(Protocol):
    """Trials that are not tried again before the command is given again; workers of one tune share them."""

    def __contains__(self, trial_id: str, /) -> bool: ...

    def add(self, trial_id: str, /) -> None: ...


def make_trials(tune: Tune, store: Store, output: TuneOutput, withheld: Withheld, *, wait: bool) -> Ended:
    """Make trials until none is owed that this process can make.

    Args:
        withheld: trials that are left alone; those that could not be made are added.
        wait: for trials that other processes make; else leave once they make all that is owed.

    Raises:
        Interrupted: SIGINT or SIGTERM came; what was trained is kept for the next try.
    """
    refused, failed = dict[str, str](), list[str]()
    with handle_signals() as stop:
        context = RunContext(store, stop=stop)
        for state in searches(tune, store):
            for record in state.records.values():
                clear_recorded(record.trial_id, store)
        while (owed := owed_searches(tune, store, withheld)) and (
            taken := _make_first(tune, owed, context, output, wait)
        ):
            arm, error = taken
            if error is None:
                continue
            state = next(state for state in owed if state.arm is arm)
            withheld.add(owed_id(tune, state))
            if isinstance(error, UserError | AdapterError):
                refused[arm.name] = str(error)
                if len(tune.arms) > 1:
                    output.log(f"refused: {arm.name}: {error}")
                continue
            failed.append(arm.name)
            kind = "" if isinstance(error, RuntimeError) else f"{type(error).__name__}: "
            output.log(f"failed: {arm.name}: {kind}{first_line(error)}; the same command goes on with it")
            if device_is_dead(arm.runs[0].device, every=arm.runs[0].device_map == "auto"):
                return Ended(refused, failed, device_is_dead=True)
    return Ended(refused, failed)


def owed_searches(tune: Tune, store: Store, withheld: Withheld) -> list[ArmSearch]:
    """The searches that go on, in the order of the arms."""
    return [s for s in searches(tune, store) if s.owed is not None and owed_id(tune, s) not in withheld]


def owed_id(tune: Tune, state: ArmSearch) -> str:
    """The id of the trial that a search owes."""
    assert state.owed is not None
    return trial_id(tune.trial(state.arm, state.owed))


def _make_first(
    tune: Tune, owed: Sequence[ArmSearch], context: RunContext, output: TuneOutput, wait: bool
) -> tuple[TunedArm, Exception | None] | None:
    """Make the next trial of the first arm of which no other process makes it.

    Returns:
        the arm, and why its trial could not be made; None where others make all of them, and that is not waited for.
    """
    for state, waits in [*((state, False) for state in owed), *((state, True) for state in owed[:1] if wait)]:
        try:
            record = _make_one(tune, state, context, output, waits)
        except HeldElsewhere:
            continue
        except Exception as error:  # of this arm alone: the others go on
            return state.arm, error
        output.log(f"  {outcome_line(record)}")
        return state.arm, None
    return None


def _make_one(tune: Tune, state: ArmSearch, context: RunContext, output: TuneOutput, wait: bool) -> TrialRecord:
    """Make the trial that a search owes."""
    point = state.owed
    assert point is not None
    run = tune.trial(state.arm, point)
    name = trial_id(run)
    before = {trial_id(tune.trial(state.arm, t.point)): state.records[t.point] for t in state.tried}

    def continues(losses: Sequence[float]) -> bool:
        return goes_on(state.search, state.tried, point, losses)

    def is_enough(record: TrialRecord) -> bool:
        return len(arm_search(tune, state.arm, before | {name: record}).tried) > len(state.tried)

    def begins() -> None:
        output.log(f"[{len(state.tried) + 1}/{tune.budget}] {_named(state.arm, tune.axis, point)}: {name}")

    return make_trial(run, name, continues, is_enough, context, wait=wait, begins=begins)


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
