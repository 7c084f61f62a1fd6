"""Two arms, or two runs, on the same questions: how far apart, how sure, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import fsum
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UserError, first_line
from ..core.json_types import Json
from ..store.excerpts import json_lines
from ..store.file_digests import SAMPLES
from ..store.folders import Store
from ..store.record import RunRecord
from .arms import Arm
from .compared_sections import ComparedSection, compared_sections, summary_of
from .comparisons import Pairs, accuracy_pairs, loss_pairs
from .copies import copies_note, distinct, same_run_note
from .named_arms import arm_named
from .sections import at_chosen_rates, finished
from .stats import Comparison, Summary
from .verdicts import Verdict


@dataclass(frozen=True)
class ArmComparison:
    """Two arms with their questions. A question is right in an arm where most of its seeds have it right."""

    a: Arm
    b: Arm
    comparison: Comparison
    summaries: tuple[Summary, Summary]
    only_a: list[str]  # sha1 of the questions that A has right and B wrong
    only_b: list[str]
    loss: LossDifference | None  # None where one of them has no losses, or of other tokens
    planned: PlannedVerdict | None = None  # where both are arms of one table, and one is its reference
    copies: str = ""  # a sentence on rows that are left out, or that both arms have in common
    chosen: tuple[str, ...] = ()  # a line for each name that several arms have: which one was taken

    @property
    def runs_only(self) -> bool:
        """Whether nothing is said of methods: one of the arms has a single seed."""
        return not (self.a.conclusive and self.b.conclusive)


@dataclass(frozen=True)
class LossDifference:
    """The losses of two arms on the reference solutions, nats a token, and A's less B's."""

    a: float
    b: float
    comparison: Comparison


@dataclass(frozen=True)
class PlannedVerdict:
    """What the plan of a table says of one of two arms against the other."""

    arm: str
    reference: str
    margin: float  # points
    comparisons: int  # of the family
    accuracy: Verdict
    loss: Verdict | None


class TwoAnswers(TypedDict):
    """A question with the right answer, and those of both arms."""

    prompt: str
    target: str
    a: str
    b: str


def compare_two(a: str, b: str, store: Store) -> ArmComparison:
    """Compare the arms of two texts, each a run id, or a variant with settings as in `lora lr=1e-2`.

    Arms of one table are compared as the report compares them: by the seed noise of all arms of that table.

    Raises:
        UserError: one of them names nothing, or several things; or their questions are not the same.
    """
    records = finished(store)
    shown = cache(lambda: at_chosen_rates(records, store))
    named = [arm_named(text, records, shown, store) for text in (a, b)]
    first, second = (name.arm for name in named)
    rules = [arm.first.config.eval.version for arm in (first, second)]
    if rules[0] != rules[1]:
        raise UserError(
            f"{a!r} and {b!r} were scored by different rules ({rules[0]} and {rules[1]}); make the older one again, or "
            f"add eval.version={max(rules)} to both"
        )
    if first.questions != second.questions:
        raise UserError(f"{a!r} and {b!r} were scored on different questions; compare runs of one table of the report")
    if not (first.binary and second.binary):
        raise UserError("only scores that are right or wrong can be compared question by question")
    pair = _pair(first, second, store)
    first, second = pair.arms
    right = first.scores.mean(0), second.scores.mean(0)

    def only(own: NDArray[np.float64], other: NDArray[np.float64]) -> list[str]:
        return [sha1 for sha1, x, y in zip(first.questions, own, other, strict=True) if x > 0.5 and y < 0.5]

    return ArmComparison(
        first,
        second,
        pair.accuracy[0, 1],
        (summary_of(first, pair.accuracy.noise), summary_of(second, pair.accuracy.noise)),
        only_a=only(right[0], right[1]),
        only_b=only(right[1], right[0]),
        loss=_loss_difference(pair),
        planned=pair.planned,
        copies=_copies(first, second, records),
        chosen=tuple(dict.fromkeys(name.chosen for name in named if name.chosen is not None)),
    )


class _Pair(NamedTuple):
    """Two arms by the seed noise of the table that they are in."""

    arms: tuple[Arm, Arm]
    accuracy: Pairs
    loss: Pairs | None
    planned: PlannedVerdict | None


def _pair(a: Arm, b: Arm, store: Store) -> _Pair:
    for section in compared_sections(store):
        places = [_place(arm, section.section.arms) for arm in (a, b)]
        if section.accuracy is None or None in places or places[0] == places[1]:
            continue
        i, j = (place for place in places if place is not None)
        own = section.section.arms[i], section.section.arms[j]
        loss = loss_pairs(own, None if section.loss is None else section.loss.noise)
        return _Pair(own, accuracy_pairs(own, noise=section.accuracy.noise), loss, _planned(section, i, j))
    return _Pair((a, b), accuracy_pairs([a, b]), loss_pairs([a, b]), None)


def _place(arm: Arm, arms: Sequence[Arm]) -> int | None:
    """The arm of a table that has the same runs."""
    runs = {record.run_id for record in arm.records}, arm.diverged
    of_arms = (({record.run_id for record in other.records}, other.diverged) for other in arms)
    return next((i for i, own in enumerate(of_arms) if own == runs), None)


def _planned(section: ComparedSection, i: int, j: int) -> PlannedVerdict | None:
    if section.reference not in (i, j):
        return None
    arm = j if section.reference == i else i
    arms, accuracy = section.section.arms, section.verdicts.get(arm)
    if accuracy is None:
        return None
    names = arms[arm].name, arms[section.reference].name
    loss = section.loss_verdicts.get(arm)
    return PlannedVerdict(*names, section.plan.margin, len(section.verdicts), accuracy, loss)


def _loss_difference(pair: _Pair) -> LossDifference | None:
    if pair.loss is None:
        return None
    of_arms = [arm.losses for arm in pair.arms if arm.losses is not None]
    a, b = (fsum(own.nats.ravel().tolist()) / (len(own.nats) * fsum(own.tokens.tolist())) for own in of_arms)
    return LossDifference(a, b, pair.loss[0, 1])


def _copies(a: Arm, b: Arm, records: list[RunRecord]) -> str:
    _, copies = distinct(records)
    shared = same_run_note(a.records, b.records)
    return " ".join(note for note in (shared, copies_note(copies, [*a.records, *b.records])) if note)


def answers(comparison: ArmComparison, sha1s: list[str], store: Store) -> list[TwoAnswers]:
    """Some questions with the right answer and both arms' own, from the samples of each arm's first run.

    Raises:
        UserError: those samples are not on this machine.
    """
    a, b = (_samples(arm.first, store) for arm in (comparison.a, comparison.b))
    return [
        {
            "prompt": a[sha1]["prompt"],
            "target": a[sha1]["target"],
            "a": a[sha1]["response"],
            "b": b[sha1]["response"],
        }
        for sha1 in sha1s
    ]


def _samples(record: RunRecord, store: Store) -> dict[str, Json]:
    """The samples of the test questions, by the questions' sha1."""
    path = store.run_folder(record.run_id).samples
    if not path.exists():
        raise UserError(f"{path} is not on this machine: answers can be shown only where the run was made")
    try:
        samples = json_lines(path, record.file_sha256.get(SAMPLES))
        return {sample["sha1"]: sample for sample in samples if sample["split"] == "test"}
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged ({first_line(error)}): its answers cannot be shown") from error
