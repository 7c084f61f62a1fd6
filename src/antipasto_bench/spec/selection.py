"""Which runs differ in learning rate and seed alone, and which learning rate validation chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from math import inf
from typing import NamedTuple

from antipasto.config import AdapterError

from ..core.errors import UserError
from .config import RunConfig

CalibrationOf = Callable[[RunConfig], int | None]


def rate_family(protocol: str, config: RunConfig, calibration: CalibrationOf | None = None) -> tuple[Hashable, ...]:
    """What runs share that differ in learning rate and seed alone.

    Args:
        protocol: of the run, as its record has it or as `config.protocol` digests it anew.
        calibration: `calibration_among` all runs whose families are compared; `calibration_of` where None.
    """
    settings = tuple((key, str(value)) for key, value in sorted(config.arm_settings.items()))
    return protocol, config.variant, (calibration or calibration_of)(config), settings


def calibration_among(configs: Iterable[RunConfig]) -> CalibrationOf:
    """What tells some runs apart by their calibration examples, as `calibration_of` does.

    Where all have the same number it tells none apart, and is read off without a look at the variants, for which torch
    would be imported.
    """
    same = len({config.data.calibration for config in configs}) <= 1
    return (lambda config: config.data.calibration) if same else calibration_of


def calibration_of(config: RunConfig) -> int | None:
    """How many calibration examples the adapter is attached with.

    None for variants that need no data; `data.calibration` for base, and for variants that this program no longer has.
    """
    try:
        if config.method.tuned:
            return config.data.calibration if config.calibrates else None
    except (AdapterError, UserError):
        pass
    return config.data.calibration


class Validation(NamedTuple):
    """What the validation questions say of a run."""

    accuracy: float | None  # share of right answers; None where it was not validated
    loss: float | None = None  # of the reference solutions, nats a token; None where it was not measured


DIVERGED = Validation(0.0, inf)  # of a run that ended non-finite: it answers nothing right

Tried = Mapping[float, Mapping[int, Validation]]  # by learning rate and seed


class Choice(NamedTuple):
    """A learning rate, and the seed on which it was chosen: its luck there made the choice, so it is not averaged."""

    lr: float
    seed: int


def choose_rate(tried: Tried) -> Choice | None:
    """The learning rate of best validation accuracy on the choosing seed.

    Of rates that tie, the one of least validation loss where all of them have one, else the lowest. A run that diverged
    has nothing right, and is not chosen. None where no run of the seed was validated, or there is no such seed.
    """
    seed = choosing_seed(tried)
    if seed is None:
        return None
    of_seed = {lr: by_seed[seed] for lr, by_seed in tried.items() if seed in by_seed}
    accuracy = {lr: v.accuracy for lr, v in of_seed.items() if v != DIVERGED and v.accuracy is not None}
    best = max(accuracy.values(), default=None)
    loss = {lr: of_seed[lr].loss for lr in accuracy if accuracy[lr] == best}
    measured = None not in loss.values()
    lr = min(loss, key=lambda lr: (loss[lr] if measured else 0.0, lr), default=None)
    return None if lr is None else Choice(lr, seed)


def choosing_seed(tried: Tried) -> int | None:
    """The lowest seed that every rate was tried on.

    Rates of which every run diverged are not asked, and seeds on which every rate diverged are left out: neither says
    which rate is best. One seed chooses even where several could: which one then depends on no result, and stays the
    same when more seeds are made at the best rate, so all others can be averaged without bias. A choice on all shared
    seeds would leave none where every rate was tried on each.
    """
    rates = [by_seed for by_seed in tried.values() if any(v != DIVERGED for v in by_seed.values())]
    shared = set.intersection(*map(set, rates)) if rates else set()
    return min((seed for seed in shared if any(by_seed[seed] != DIVERGED for by_seed in rates)), default=None)
