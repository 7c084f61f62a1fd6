"""Excerpts of a run that are versioned beside its row: how its loss fell, and a few answers, right and wrong.

The whole log and every sample stay in outputs/.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, JsonValue, ValidationError

from ..core.errors import UserError
from ..core.files import write_json
from .folders import Store
from .items import HEADLINE_METRICS, headline_of
from .run_folder import RunFolder

MOST_POINTS = 60  # of the learning curve
ANSWERS = 3  # right ones, and as many wrong


class CurvePoint(BaseModel):
    """Means over some steps, the last of which names them."""

    step: int
    loss: float
    grad_norm: float


class Answer(BaseModel):
    """A test question with the right answer and the model's."""

    right: bool
    prompt: JsonValue = None
    target: JsonValue = None
    response: JsonValue = None  # text; of a task that chooses between answers, what lm-eval logs of the first one


class Excerpts(BaseModel):
    curve: list[CurvePoint] = []
    answers: list[Answer] = []


def write_excerpts(folder: RunFolder, store: Store, run_id: str) -> None:
    """Write a run's excerpts from the log and the samples in its folder."""
    excerpts = Excerpts(
        curve=curve(_lines(folder.log)) if folder.log.exists() else [], answers=answers(_lines(folder.samples))
    )
    write_json(store.excerpts(run_id), excerpts.model_dump(exclude_unset=True))


def read_excerpts(run_id: str, store: Store) -> Excerpts:
    """A run's excerpts; empty where it has none.

    Raises:
        UserError: the file is damaged.
    """
    path = store.excerpts(run_id)
    if not path.exists():
        return Excerpts()
    try:
        return Excerpts.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path} is damaged; restore it, or write it anew: antipasto-bench measure {run_id}") from error


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


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with open(path, encoding="utf-8") as file:
        yield from map(json.loads, file)
