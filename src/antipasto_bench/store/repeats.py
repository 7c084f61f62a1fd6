"""Runs of the table that were made again: one line each in results/reproduced.ndjson, and never a row of the table.

A line says how the repeat compares with the row that stood in the table then, and where it was made.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..core.json_types import Json
from .checked_json import DIGEST
from .digested_lines import Kind, add_object, checked_objects, read_objects
from .folders import Store
from .origins import Provenance
from .record import FileName, RunRecord, Sha256, record_json

SCHEMA_VERSION = 1
Outcome = Literal["same bits", "within tolerance", "differs"]


class RepeatRecord(BaseModel):
    """How a run that was made again compares with its row."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True)

    schema_version: int = Field(SCHEMA_VERSION, alias="schema")
    run_id: FileName
    compared_row: Sha256  # digest of the row that it was compared with
    outcome: Outcome
    demanded: Literal["same bits", "within tolerance"]  # the first where machine, threads and versions are the same
    same_adapter: bool | None = None  # its file's content; None where the row has no digest of it
    same_items: bool  # every question's scores and losses, to the last bit
    same_answers: bool | None = None  # every answer's text; None where the row has no digest of them
    questions: int
    gained: int  # questions that the repeat alone has right
    lost: int  # questions that the row alone has right
    recorded_accuracy: float
    repeated_accuracy: float
    recorded_loss: float | None = None  # held-out, nats a completion token
    repeated_loss: float | None = None
    accuracy_tolerance: float  # share of questions
    loss_tolerance: float  # nats a completion token
    environment: list[str]  # what differs in machine, threads and versions, in words; empty where nothing does
    recorded_commit: str | None = None  # of the code that made the row
    recorded_at: str | None = None  # UTC, ISO 8601
    finished_at: str
    seconds: float  # of making it again
    provenance: Provenance  # of the repeat

    @property
    def holds(self) -> bool:
        """Whether it is what was demanded of it, or more."""
        return self.outcome == "same bits" or self.outcome == self.demanded

    @property
    def loss_difference(self) -> float | None:
        if self.recorded_loss is None or self.repeated_loss is None:
            return None
        return self.repeated_loss - self.recorded_loss

    def to_json(self) -> Json:
        return self.model_dump(mode="json", by_alias=True)


_KIND = Kind(RepeatRecord, SCHEMA_VERSION, "repeat", "repeats")


def row_digest(record: RunRecord) -> str:
    """The digest of a row as the table would have it today."""
    return str(record_json(record)[DIGEST])


def add_repeat(record: RepeatRecord, store: Store) -> None:
    """Record a repeat; when this returns, its line is on the disk.

    Raises:
        OSError: it could not be written; the file is then as it was.
    """
    add_object(store.repeats, record.to_json())


def read_repeats(store: Store) -> list[RepeatRecord]:
    """Every readable repeat in the order of its line; one that a kill had recorded twice is one.

    Raises:
        UserError: a newer version of this program wrote one.
    """
    repeats = read_objects(store.repeats, store.repeats.name, _KIND)
    return list({repeat.model_dump_json(): repeat for repeat in repeats}.values())


def repeat_problems(store: Store) -> list[str]:
    """Everything that is wrong with the recorded repeats, a line each."""
    problems = []
    for found in checked_objects(store.repeats, store.repeats.name, _KIND):
        if isinstance(found, str):
            problems.append(found)
        elif not _balanced(found):
            problems.append(f"{store.repeats.name}: {found.run_id}: its accuracies are not those of its flips")
    return problems


def _balanced(record: RepeatRecord) -> bool:
    """Whether the questions gained and lost are the difference of the accuracies."""
    difference = (record.repeated_accuracy - record.recorded_accuracy) * record.questions
    return abs(difference - (record.gained - record.lost)) < 1e-6
