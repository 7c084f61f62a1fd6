"""The learning rates that `tune` found, for the arms of a table.

A search judges by held-out loss, on seeds that no result has. So at the rate that it found every seed of a result can
be averaged; where validation chooses among results, the seed that chose is spent (choosing.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from ..spec.config import RunConfig
from ..spec.search import place_of, rate_at
from ..spec.selection import calibration_among, rate_family
from ..spec.tried import Point, Tried, best_of, of_steps
from ..spec.tune import trial_config
from ..store.record import RunRecord
from ..store.trials import TrialRecord

FEWEST = 2  # rates whose trials are as long as the run; fewer have compared nothing


class FoundRate(NamedTuple):
    lr: float
    trials: int  # of any length
    inside: bool  # whether a lower and a higher rate were tried, by trials of any length
    seeds: frozenset[int]  # of the trials


class FoundRates:
    """What recorded trials found.

    Args:
        trials: of any methods, models and data.
        runs: of all records that are asked about.
    """

    def __init__(self, trials: Sequence[TrialRecord], runs: Iterable[RunConfig]) -> None:
        self._calibration = calibration_among([*(trial.config for trial in trials), *runs])
        self._trials: dict[Hashable, list[TrialRecord]] = {}
        for trial in trials:
            self._trials.setdefault(self._key(trial, trial.config), []).append(trial)

    def of(self, record: RunRecord) -> FoundRate | None:
        """The rate that a search found for a run's method, by trials as long as the run.

        They were trained on the same rows of the same model, and judged by the same validation questions. None where
        there are no such trials at two rates or more.
        """
        if not self._trials or record.lr is None or record.config.eval.valid == "none":
            return None
        own = [tried_of(trial) for trial in self._trials.get(self._key(record, trial_config(record.config, {})), [])]
        whole = of_steps(own, record.config.steps)
        best = best_of(whole)
        if best is None or len({trial.point.place for trial in whole}) < FEWEST:
            return None
        places = [trial.point.place for trial in own]
        inside = min(places) < best.place < max(places)
        return FoundRate(rate_at(best.place), len(own), inside, frozenset(trial.point.seed for trial in own))

    def _key(self, record: TrialRecord | RunRecord, trial: RunConfig) -> Hashable:
        origin = record.provenance
        source = None if origin is None or origin.model is None else origin.model.source
        # Of a run the rows that hold a test question may be dropped; a trial knows of no test.
        splits = ("valid",) if trial.data.overlap == "drop" else ("train", "valid")
        data = tuple(None if origin is None or (own := origin.data.get(s)) is None else own.sha256 for s in splits)
        return record.model, source, data, rate_family(protocol_of_any_length(trial), trial, self._calibration)


def protocol_of_any_length(trial: RunConfig) -> str:
    """The protocol that trials of one search share, which differ in their steps.

    A data file counts by its own name: a run beside the search can have read it from another folder, and what it holds
    is compared by digest (`FoundRates`).
    """
    data = trial.data.model_copy(update={"train": _without_folder(trial.data.train)})
    scoring = trial.eval.model_copy(update={"valid": _without_folder(trial.eval.valid)})
    return trial.model_copy(update={"steps": 1, "data": data, "eval": scoring}).protocol


def _without_folder(name: str) -> str:
    return PurePosixPath(name).name


def tried_of(record: TrialRecord, value: int = 0) -> Tried:
    """What came of a recorded trial.

    Args:
        value: see `Point`.
    """
    point = Point(value, place_of(record.lr), record.seed, record.steps)
    return Tried(point, tuple(loss for _, loss in record.losses), record.state)
