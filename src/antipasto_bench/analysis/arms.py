"""Arms: runs that differ in their seeds alone, with the questions that each of them answered right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UserError
from ..spec.config import RunConfig
from ..spec.selection import calibration_of
from ..store.folders import Store
from ..store.items import QuestionScores, headline_scores, items_of, token_losses
from ..store.kinds import kinds_of
from ..store.record import RunRecord


class Runs(NamedTuple):
    """Recorded runs that differ in their seeds alone."""

    finished: list[RunRecord]
    diverged: list[RunRecord]
    chosen_on: int | None = None  # the seed on which validation chose their learning rate among others


def by_arm(finished: Sequence[RunRecord], diverged: Sequence[RunRecord]) -> list[Runs]:
    """The runs of each arm of which one finished, in the order of the first of them."""
    arms: dict[str, Runs] = {}
    for record in finished:
        arms.setdefault(record.arm, Runs([], [])).finished.append(record)
    for record in diverged:
        if record.arm in arms:
            arms[record.arm].diverged.append(record)
    return list(arms.values())


@dataclass(frozen=True)
class ArmLosses:
    """The losses of the reference solutions to an arm's questions."""

    nats: NDArray[np.float64]  # (seeds, questions), summed over the completion tokens
    tokens: NDArray[np.float64]  # (questions,), the same for every seed

    def paired_with(self, other: ArmLosses) -> bool:
        """Whether a difference of losses a token means anything: a question has as many tokens in both."""
        return np.array_equal(self.tokens, other.tokens)


@dataclass(frozen=True)
class Arm:
    """The seeds of one setting."""

    label: str  # the variant, with those of its settings that tell it from its neighbours
    records: list[RunRecord]  # of the runs that finished, in the order of their seeds
    questions: tuple[str, ...]  # sha1 of each test question, sorted
    scores: NDArray[np.float64]  # (seeds, questions): the headline score of each test question, as `records` and then 0
    valid: NDArray[np.float64] | None  # (seeds, validation questions) likewise; None where there were none
    losses: ArmLosses | None = None  # on the test questions; None where not every seed has them
    diverged_seeds: tuple[int, ...] = ()  # of runs that ended non-finite, whose rows are the last: nothing is right
    kinds: tuple[str, ...] | None = None  # of each question; None where the test set has none
    chosen_on: int | None = None  # the seed on which validation chose its learning rate among others

    @property
    def loss_kinds(self) -> tuple[str, ...] | None:
        """Of each question of `losses`; None where there are more of these than were answered, which have no kinds."""
        return self.kinds if self.losses is not None and len(self.losses.tokens) == len(self.questions) else None

    @property
    def name(self) -> str:
        """The label, with the rank where there is one."""
        return name_of(self.label, self.first)

    @property
    def first(self) -> RunRecord:
        """The record of the lowest seed."""
        return self.records[0]

    @property
    def seeds(self) -> int:
        """How many seeds it has, with those that diverged."""
        return len(self.scores)

    @property
    def diverged(self) -> int:
        """How many of its runs ended non-finite."""
        return len(self.diverged_seeds)

    def rows(self, first: int | None = None) -> NDArray[np.intp]:
        """Which rows of `scores` are of the first, lowest, so many of its seeds; all of them where None."""
        seeds = [*(record.seed or 0 for record in self.records), *self.diverged_seeds]
        return np.sort(np.argsort(seeds, kind="stable")[:first])

    @property
    def scored_where_chosen(self) -> bool:
        """Whether its learning rate was chosen on a seed that it is scored on, for want of others: this flatters."""
        return self.chosen_on is not None and any(record.seed == self.chosen_on for record in self.records)

    @property
    def lr(self) -> float | None:
        return self.first.lr

    @property
    def variant(self) -> str:
        return self.first.variant

    @property
    def untuned(self) -> bool:
        """Whether it is the base model, without an adapter."""
        return self.first.untuned

    @property
    def trained_on_seeds(self) -> bool:
        """Whether another seed would have given another model."""
        return self.first.seed is not None

    @property
    def conclusive(self) -> bool:
        """Whether conclusions may be drawn on it: one seed says nothing of others."""
        return not self.trained_on_seeds or self.seeds > 1

    @property
    def binary(self) -> bool:
        """Whether each question is right or wrong, as the comparison of arms expects."""
        return bool(np.isin(self.scores, (0.0, 1.0)).all())

    def mean(self, field: str) -> float | None:
        """The mean of a record's field over the finished runs that have a value; None where none has."""
        values = [value for record in self.records if (value := getattr(record, field)) is not None]
        return sum(values) / len(values) if values else None


def arm_of(runs: Runs, peers: Sequence[RunRecord], store: Store) -> Arm:
    """The arm of some runs; its label tells it from the peers.

    Scores are paired by the questions' hashes: the order in which a run was asked them does not matter. A run that
    diverged has none right.

    Args:
        runs: at least one of them finished.

    Raises:
        UserError: the questions of a run are missing or not those its record was made from, or seeds differ in
            questions.
    """
    members = sorted(runs.finished, key=lambda record: record.seed or 0)
    label, diverged = label_of(members[0], peers), len(runs.diverged)
    items_of_test = [items_of(record, store, "test") for record in members]
    test = [headline_scores(items) for items in items_of_test]
    valid = [headline_scores(items) for record in members if (items := items_of(record, store, "valid"))]
    validated = len(valid) == len(members) and len({split.questions for split in valid}) == 1
    for record, split in zip(members, test, strict=True):
        problem = different_questions(members[0].run_id, test[0].questions, record.run_id, split.questions)
        if problem is not None:
            raise UserError(f"seeds of {label} cannot be paired: {problem}")
    return Arm(
        label,
        members,
        test[0].questions,
        _stacked(test, diverged),
        _stacked(valid, diverged) if validated else None,
        None if diverged else _arm_losses([token_losses(items) for items in items_of_test]),
        tuple(sorted(record.seed or 0 for record in runs.diverged)),
        kinds_of(members, test[0].questions, store),
        chosen_on=runs.chosen_on,
    )


def _stacked(splits: Sequence[QuestionScores], diverged: int) -> NDArray[np.float64]:
    """(seeds, questions): the scores of finished runs, then a row of zeros for each that diverged."""
    finished = np.stack([split.scores for split in splits])
    return np.concatenate([finished, np.zeros((diverged, finished.shape[1]))])


def _arm_losses(of_seeds: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]] | None]) -> ArmLosses | None:
    """The losses of all seeds; None where one has none, or they are not of the same tokens."""
    measured = [losses for losses in of_seeds if losses is not None]
    if len(measured) < len(of_seeds) or any(not np.array_equal(tokens, measured[0][1]) for _, tokens in measured):
        return None
    return ArmLosses(np.stack([nats for nats, _ in measured]), measured[0][1])


def different_questions(a: str, a_questions: Sequence[str], b: str, b_questions: Sequence[str]) -> str | None:
    """Why two runs of one protocol cannot be paired, and what to do; None where their questions are the same.

    Args:
        a, b: their run ids.
        a_questions, b_questions: sha1 of each question, sorted.
    """
    if a_questions == b_questions:
        return None
    shared = (Counter(a_questions) & Counter(b_questions)).total()
    return (
        f"{a} and {b} were scored on different questions ({len(a_questions)} and {len(b_questions)}, of which they "
        f"share {shared}): the test data changed between them; run the older one again with --force, and give "
        "eval.revision=COMMIT where the data are a hub set"
    )


def name_of(label: str, record: RunRecord) -> str:
    """A label, with the rank of its record where there is one."""
    return label if record.rank is None else f"{label} r={record.rank}"


def label_of(record: RunRecord, peers: Sequence[RunRecord]) -> str:
    """The variant of a record, with its basis and the settings in which another arm of the variant differs.

    A setting of the run itself, such as `adapter_dtype`, is named where it is not its field's default.
    """
    settings = record.config.arm_settings
    same_variant = [peer for peer in peers if peer.variant == record.variant]
    others = [peer.config.arm_settings for peer in same_variant]
    shown = [
        key
        for key, value in settings.items()
        if key != "r"
        and (key == "rotate_basis" or any(other.get(key) != value for other in others))
        and (key in record.config.adapter or value != RunConfig.model_fields[key].default)
    ]
    words = [f"{key}={compact(settings[key])}" for key in sorted(shown)]
    if len({peer.config.data.calibration for peer in same_variant}) > 1:
        calibration = None if record.untuned else calibration_of(record.config)
        if calibration is not None:
            words.append(f"calibration={calibration}")
    return " ".join([record.variant, *words])


def compact(value: Any) -> str:
    """A setting's value in few characters."""
    if isinstance(value, list):
        return "[" + ",".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
