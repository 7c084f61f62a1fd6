"""Two arms, or two runs, on the same questions: how far apart, how sure, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..core.errors import UserError, first_line
from ..core.json_types import Json
from ..spec.config import ADAPTER_WORDS
from ..spec.grammar import parse_words
from ..store.evidence import backed
from ..store.excerpts import json_lines
from ..store.file_digests import SAMPLES
from ..store.folders import Store
from ..store.record import RunRecord
from .arms import Arm, arm_of, compact
from .losses import compare_losses, loss_over_seeds, loss_table
from .sections import finished, sections
from .stats import Comparison, Summary, compare, summarise


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


@dataclass(frozen=True)
class LossDifference:
    """The losses of two arms on the reference solutions, nats a token, and A's less B's."""

    a: float
    b: float
    comparison: Comparison


class TwoAnswers(TypedDict):
    """A question with the right answer, and those of both arms."""

    prompt: str
    target: str
    a: str
    b: str


def compare_two(a: str, b: str, store: Store) -> ArmComparison:
    """Compare the arms of two texts, each a run id, or a variant with settings as in `lora lr=1e-2`.

    Raises:
        UserError: one of them names nothing, or several things; or their questions are not the same.
    """
    first, second = (select(text, store) for text in (a, b))
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
    right = first.scores.mean(0), second.scores.mean(0)

    def only(own: NDArray[np.float64], other: NDArray[np.float64]) -> list[str]:
        return [sha1 for sha1, x, y in zip(first.questions, own, other, strict=True) if x > 0.5 and y < 0.5]

    return ArmComparison(
        first,
        second,
        compare(first.scores, second.scores),
        (summarise(first.scores), summarise(second.scores)),
        only_a=only(right[0], right[1]),
        only_b=only(right[1], right[0]),
        loss=_loss_difference(first, second),
    )


def _loss_difference(a: Arm, b: Arm) -> LossDifference | None:
    if a.losses is None or b.losses is None or not a.losses.paired_with(b.losses) or len(a.losses.tokens) < 2:
        return None
    table_a, table_b = (loss_table(losses.nats, losses.tokens) for losses in (a.losses, b.losses))
    difference = compare_losses(table_a, table_b, varies=(a.trained_on_seeds, b.trained_on_seeds))
    return LossDifference(loss_over_seeds(table_a)[0], loss_over_seeds(table_b)[0], difference)


def select(text: str, store: Store) -> Arm:
    """The arm or run that a text names.

    Raises:
        UserError: there is none, or more than one.
    """
    records = finished(store)
    by_id = [record for record in records if record.run_id == text]
    if by_id:
        return arm_of(_backed(by_id, text, store), records, store)
    variants, axes = parse_words(text.split())
    if len(variants) != 1 or any(len(values) != 1 for values in axes.values()):
        raise UserError(f"cannot read {text!r}; write a run id, or one variant with settings, such as 'lora lr=1e-2'")
    wanted = {ADAPTER_WORDS.get(key, key): values[0] for key, values in axes.items()}
    matching = [record for record in records if record.variant == variants[0] and _has(record, wanted)]
    if "lr" not in wanted:  # the one that the report shows
        shown = {record.run_id for section in sections(store) for arm in section.arms for record in arm.records}
        matching = [record for record in matching if record.run_id in shown]
    by_arm: dict[str, list[RunRecord]] = {}
    for record in _backed(matching, text, store) if matching else []:
        by_arm.setdefault(record.arm, []).append(record)
    if not by_arm:
        raise UserError(f"no finished run is {text!r}; `antipasto-bench list` shows them all")
    arms = [arm_of(members, matching, store) for members in by_arm.values()]
    if len(arms) > 1:
        raise UserError(
            f"{text!r} names {len(arms)} arms ({', '.join(arm.label for arm in arms)}); add a setting: {_apart(arms)}"
        )
    return arms[0]


def _backed(records: list[RunRecord], text: str, store: Store) -> list[RunRecord]:
    """Those whose questions are whole.

    Raises:
        UserError: none is.
    """
    whole = backed(records, store)
    if not whole:
        raise UserError(f"the questions of {text!r} are damaged; restore them, or run it again")
    return whole


def _apart(arms: list[Arm]) -> str:
    """The settings in which some arms differ, as a user types them."""
    settings = [_settings(arm.first) for arm in arms]
    words = {name: word for word, name in ADAPTER_WORDS.items()}
    different = []
    for key in dict.fromkeys(key for values in settings for key in values):
        values = list(dict.fromkeys(compact(own.get(key)) for own in settings))
        if len(values) > 1 and key not in ("adapter", "protocol", "seed"):
            different.append(f"{words.get(key, key)}={'|'.join(values)}")
    protocols = "|".join(dict.fromkeys(arm.first.protocol for arm in arms))
    return ", ".join(different) or f"protocol={protocols}"


def _settings(record: RunRecord) -> dict[str, Any]:
    """All settings of a run by the names that users type, but for an adapter's own names of some."""
    config = record.config.model_dump(mode="json")
    sections = {f"{name}.{key}": value for name in ("data", "eval") for key, value in config.pop(name).items()}
    own = {"protocol": record.protocol, "lr": record.lr, "seed": record.seed}
    return {**config, **sections, **config["adapter"], **own}


def _has(record: RunRecord, wanted: dict[str, Any]) -> bool:
    """Whether a run has all of the wanted settings."""
    settings, adapter = _settings(record), record.config.adapter
    return all(
        key in settings and _same(settings[key], value, ordered=key not in adapter) for key, value in wanted.items()
    )


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


def _same(value: Any, wanted: Any, *, ordered: bool) -> bool:
    """Whether a recorded value is the one that a user wrote, who may write the entry of a list of one without brackets.

    Args:
        ordered: whether the order of a list means anything.
    """
    if isinstance(value, list):
        own, other = ([str(entry) for entry in x] for x in (value, wanted if isinstance(wanted, list) else [wanted]))
        return own == other if ordered else set(own) == set(other)
    try:
        return bool(np.isclose(float(value), float(wanted), rtol=1e-9, atol=0))
    except (TypeError, ValueError):
        return str(value) == str(wanted)
