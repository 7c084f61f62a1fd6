"""The suites by name, and the form of what each of them measures: cells, and claims about ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from ..core.provenance import CodeAndMachine

SUITES = {
    "step": "a training step of every variant, against the base, our lora and peft",
    "layers": "a training step of three blocks of Qwen3-0.6B's shape",
    "compiled": "a training step through torch.compile, against one without it",
    "memory": "bytes kept for the backward pass, by layers alone",
    "kept": "memory of a step of every variant, and of peft: kept for the backward pass, and at its peak",
    "init": "attaching: cold, warm, and from calibration data",
    "growth": "how a step grows with tokens, rows, layers and rank",
    "scoring": "questions a second: merged, hooked, base, by every backend, and a plain generate loop",
    "run": "a whole nano run, against the same run made peft's way",
    "sweep_overhead": "what of a sweep is neither training nor scoring",
    "reading": "commands that only read, against importing torch",
    "answers": "GSM8K questions answered by SmolLM2-135M, against lm-eval's own model at its best batch size",
    "answers_tuned": "the same with a trained lora, whose answers are longer",
    "real_step": "a training step of every variant on SmolLM2-135M, against the base, and against peft",
    "real_run": "a whole run of SmolLM2-135M, against the same run made peft's way",
    "cards": "tables by the published protocols on cards of 24, 80 and 141 GB: derived from counts, not measured",
    "gpu": "on a GPU: steps, memory and scoring of whole models of published shapes",
}

# Suites on a real model and real data take half an hour or more and run only where they are named. What of a run's
# settings each takes: where the data are, and how much of a whole run is made; all else is what its text says.
_DATA = ("data.train", "data.split", "data.revision", "data.overlap", "eval.data", "eval.revision")
REAL_SETTINGS = {
    "answers": _DATA,
    "answers_tuned": _DATA,
    "real_step": _DATA,
    "real_run": (*_DATA, "steps", "eval.limit"),
}
REAL = (*REAL_SETTINGS,)


@dataclass(frozen=True)
class Claim:
    """A ratio of two figures of one run, or a count, and what it must not exceed."""

    what: str
    ratio: float
    bound: float
    pairs: list[list[float]] = field(default_factory=list)  # both figures of every turn, where the ratio is over turns

    @property
    def holds(self) -> bool:
        return self.ratio <= self.bound


@dataclass(frozen=True)
class ArmFigures:
    """One arm's figures: one for each turn, or a single count."""

    arm: str
    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class SuiteResult:
    """All that a suite measured."""

    setting: str  # the models, batches and ranks, as a sentence for the page
    cells: list[ArmFigures]
    claims: list[Claim]
    details: Mapping[str, object] = field(default_factory=dict)  # further JSON of the record, which the page leaves out

    @property
    def holds(self) -> bool:
        return all(claim.holds for claim in self.claims)


class MeasuredClaim(BaseModel):
    """A claim as a file of results/speed has it."""

    what: str
    ratio: float
    bound: float
    holds: bool
    pairs: list[list[float]] = []


class MeasuredCell(BaseModel):
    arm: str
    unit: str
    values: list[float]
    median: float


class MeasuredSuite(BaseModel):
    """A file of results/speed; what else a suite wrote into it is kept."""

    model_config = ConfigDict(extra="allow")

    suite: str
    what: str
    setting: str
    claims: list[MeasuredClaim]
    cells: list[MeasuredCell]
    provenance: CodeAndMachine
