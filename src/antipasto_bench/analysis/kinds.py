"""Accuracy by kind of question: what a mean over all questions hides, such as a run that fails at one kind of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arms import Arm


@dataclass(frozen=True)
class ArmByKind:
    """The accuracy of an arm's runs in each kind."""

    name: str  # of the arm
    runs: NDArray[np.float64]  # (runs, kinds): shares from 0 to 1, runs in the order of the arm's scores

    @property
    def means(self) -> NDArray[np.float64]:
        """(kinds,): the mean over the runs."""
        return np.asarray(self.runs.mean(axis=0))


@dataclass(frozen=True)
class AccuracyByKind:
    """A small table: a row an arm, a column a kind."""

    kinds: tuple[str, ...]  # those with the most questions first
    counts: tuple[int, ...]  # questions of each
    arms: list[ArmByKind]


def accuracy_by_kind(arms: Sequence[Arm]) -> AccuracyByKind | None:
    """The accuracy of each arm and each of its runs by kind of question; None where no arm's questions have kinds.

    An arm that was scored on other questions than the first one with kinds, or whose questions have none, is left out.
    """
    first = next((arm for arm in arms if arm.kinds is not None), None)
    if first is None or first.kinds is None:
        return None
    alike = [arm for arm in arms if (arm.questions, arm.kinds) == (first.questions, first.kinds)]
    counted = sorted(Counter(first.kinds).items(), key=lambda item: (-item[1], item[0]))
    kinds, counts = tuple(kind for kind, _ in counted), tuple(count for _, count in counted)
    of_kind = np.array(first.kinds) == np.array(kinds)[:, None]  # (kinds, questions)
    share = of_kind.T / np.array(counts)  # (questions, kinds)
    return AccuracyByKind(kinds, counts, [ArmByKind(arm.name, arm.scores @ share) for arm in alike])
