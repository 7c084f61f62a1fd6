"""The learning rates that `tune` found, for the arms of a table that were made at several.

A search judges by held-out loss, on seeds that no result has. So at the rate that it found every seed of a result can
be averaged; where validation chooses among results, the seed that chose is spent (choosing.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from ..spec.config import RunConfig
from ..spec.search import place_of, rate_at
from ..spec.selection import CalibrationOf, calibration_among, rate_family
from ..spec.tried import Point, Tried, best_of
from ..spec.tune import trial_config
from ..store.record import RunRecord
from ..store.trials import TrialRecord


class FoundRate(NamedTuple):
    lr: float
    trials: int


class FoundRates:
    """What recorded trials found.

    Args:
        trials: of any methods, models and data.
    """

    def __init__(self, trials: Sequence[TrialRecord]) -> None:
        self._calibration = calibration_among(trial.config for trial in trials)
        self._trials: dict[Hashable, list[TrialRecord]] = {}
        for trial in trials:
            self._trials.setdefault(self._key(trial, trial.config, self._calibration), []).append(trial)

    def of(self, record: RunRecord) -> FoundRate | None:
        """The rate of the search that trained and validated as a run did, whatever its rate; None where there is none.

        Among trials of several lengths those of the most steps count, see `best_of`.
        """
        if not self._trials or record.lr is None or record.config.eval.valid == "none":
            return None
        own = self._trials.get(self._key(record, trial_config(record.config, {}), self._calibration), [])
        best = best_of([tried_of(trial) for trial in own])
        return None if best is None else FoundRate(rate_at(best.place), len(own))

    def _key(self, record: TrialRecord | RunRecord, trial: RunConfig, calibration: CalibrationOf) -> Hashable:
        data = None if record.provenance is None else record.provenance.data.get("valid")
        of_any_length = trial.model_copy(update={"steps": 1}).protocol
        return record.model, None if data is None else data.sha256, rate_family(of_any_length, trial, calibration)


def tried_of(record: TrialRecord, value: int = 0) -> Tried:
    """What came of a recorded trial.

    Args:
        value: see `Point`.
    """
    point = Point(value, place_of(record.lr), record.seed, record.steps)
    return Tried(point, tuple(loss for _, loss in record.losses), record.state)
