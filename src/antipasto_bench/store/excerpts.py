"""Excerpts of a run that are versioned beside its row: how its loss fell, and a few answers, right and wrong.

The whole log and every sample stay in outputs/.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ..core.errors import Damaged, first_line
from ..core.files import write_json
from ..core.fingerprint import sha256_of
from ..core.json_types import Json
from .checked_json import parse_object
from .file_digests import EXCERPTS, LOG, SAMPLES, read_checked
from .folders import Store
from .items import HEADLINE_METRICS, headline_of
from .record import RunRecord
from .run_folder import RunFolder

MOST_POINTS = 60  # of the learning curve
ANSWERS = 3  # right ones, and as many wrong


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")


class CurvePoint(_Strict):
    """Means over some steps, the last of which names them."""

    step: Annotated[int, Field(ge=1, lt=2**63)]
    loss: float
    grad_norm: float


class Answer(_Strict):
    """A test question with the right answer and the model's."""

    right: bool
    prompt: JsonValue = None
    target: JsonValue = None
    response: JsonValue = None  # text; of a task that chooses between answers, what lm-eval logs of the first one


class Excerpts(_Strict):
    curve: list[CurvePoint] = []
    answers: list[Answer] = []


def write_excerpts(folder: RunFolder, store: Store, record: RunRecord) -> None:
    """Write a run's excerpts from the log and the samples in its folder, and their digest into its record.

    Raises:
        ValueError: the log or the samples are damaged; nothing is written.
    """
    steps = json_lines(folder.log, record.file_sha256.get(LOG)) if folder.log.exists() else []
    samples = json_lines(folder.samples, record.file_sha256.get(SAMPLES))
    try:
        excerpts = Excerpts(curve=curve(steps), answers=answers(samples))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"log or samples are not those of a run: {first_line(error)}") from error
    path = store.excerpts(record.run_id)
    write_json(path, excerpts.model_dump(exclude_unset=True))
    record.file_sha256 = dict(sorted((record.file_sha256 | {EXCERPTS: sha256_of(path)}).items()))


def read_excerpts(record: RunRecord, store: Store) -> Excerpts:
    """A run's excerpts; empty where it has none, and with a warning where they are damaged."""
    path, digest = store.excerpts(record.run_id), record.file_sha256.get(EXCERPTS)
    if digest is None and not path.exists():
        return Excerpts()
    try:
        return Excerpts.model_validate_json(read_checked(path, digest))
    except ValueError as error:
        reason = "is not what was written" if isinstance(error, ValidationError) else str(error)
        again = f"`antipasto-bench measure {record.run_id}` writes it anew"
        warnings.warn(f"runs/{path.name}: {reason}; its excerpts are left out: {again}", Damaged, stacklevel=2)
        return Excerpts()


def curve(steps: Iterable[Mapping[str, Any]]) -> list[CurvePoint]:
    """Mean loss and gradient norm over at most MOST_POINTS stretches of the steps."""
    steps = list(steps)
    width = max(1, -(-len(steps) // MOST_POINTS))
    stretches = [steps[i : i + width] for i in range(0, len(steps), width)]

    def mean(stretch: list[Mapping[str, Any]], name: str) -> float:
        return round(float(sum(step[name] for step in stretch)) / len(stretch), 5)

    return [
        CurvePoint(step=stretch[-1]["step"], loss=mean(stretch, "loss"), grad_norm=mean(stretch, "grad_norm"))
        for stretch in stretches
    ]


def answers(samples: Iterable[Mapping[str, Any]]) -> list[Answer]:
    """A few test questions: the first right ones in the order of their hash, then as many wrong ones.

    Right is what each task's headline filter says.
    """
    logged = [sample for sample in samples if sample["split"] == "test"]
    judged: dict[str, list[tuple[str, str]]] = {}  # by task: its filters and metrics
    for sample in logged:
        judged.setdefault(sample["task"], []).extend((sample["filter"], m) for m in HEADLINE_METRICS if m in sample)
    headlines = {task: headline_of(pairs) for task, pairs in judged.items() if pairs}
    by_question: dict[str, Answer] = {}
    for sample in logged:
        name, metric = headlines.get(sample["task"], (None, ""))
        texts = {key: sample[key] for key in ("prompt", "target", "response") if key in sample}
        answer = by_question.setdefault(sample["sha1"], Answer(right=False, **texts))
        answer.right = answer.right or (sample["filter"] == name and bool(sample[metric]))
    ordered = [by_question[sha1] for sha1 in sorted(by_question)]
    right = [answer for answer in ordered if answer.right][:ANSWERS]
    return right + [answer for answer in ordered if not answer.right][:ANSWERS]


def json_lines(path: Path, digest: str | None) -> list[Json]:
    """The objects of a file that holds one a line.

    Args:
        digest: of the file, as its row has it.

    Raises:
        ValueError: the file is missing or damaged.
    """
    objects = []
    for number, line in enumerate(read_checked(path, digest).splitlines(), start=1):
        try:
            objects.append(parse_object(line))
        except ValueError as error:
            raise ValueError(f"line {number} is damaged: {error}") from error
    return objects
