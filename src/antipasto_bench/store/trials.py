"""The trials of `tune`: one line each in results/tune/trials.ndjson, apart from the results and never among them.

Lines are written and read as the table's are: appended under a lock, in one write, each with a digest of itself; one
that was cut short or damaged is skipped with a warning, and its trial is made again. A trial that is taken further than
an earlier search took it has a further line, which counts.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ..core.fingerprint import once_at_rest
from ..core.json_types import Json
from ..spec.config import RunConfig
from ..spec.tried import rung_steps
from .digested_lines import Kind, add_object, checked_objects, read_objects
from .folders import Store
from .origins import Provenance
from .record import Digest, FileName, Line, VariantName

SCHEMA_VERSION = 1


class TrialRecord(BaseModel):
    """All that is recorded of a trial."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True)

    schema_version: int = Field(SCHEMA_VERSION, alias="schema")
    trial_id: FileName
    state: Literal["done", "stopped", "diverged"]
    error: str | None = None  # why it diverged
    model: Line
    variant: VariantName
    rank: int | None = None
    lr: float
    seed: int
    protocol: Digest  # shared by trials that differ in adapter, lr and seed alone
    steps: int  # of its whole schedule
    steps_made: int  # up to the last measurement
    losses: list[tuple[int, float]]  # step, held-out loss of the validation questions in nats a completion token; the
    # first one, at step 0, that of the untuned model
    loss_stderr: float | None = None  # of the last one, over the questions
    last_loss: float | None = None  # training loss, mean of the last tenth of the steps
    seconds: float  # wall time of the try that ended it: attaching, training and measuring
    finished_at: str  # UTC, ISO 8601
    config: RunConfig  # its scoring names no test
    provenance: Provenance

    @property
    def loss(self) -> float | None:
        """The last held-out loss; None of a trial that diverged."""
        return self.losses[-1][1] if self.state != "diverged" else None

    def to_json(self) -> Json:
        return self.model_dump(mode="json", by_alias=True)


_KIND = Kind(TrialRecord, SCHEMA_VERSION, "trial", "tune trials")


def add_trial(record: TrialRecord, store: Store) -> None:
    """Record a trial; when this returns, its line is on the disk.

    Raises:
        OSError: it could not be written; the file is then as it was.
    """
    add_object(store.trials, record.to_json())


def read_trials(store: Store) -> list[TrialRecord]:
    """Every readable trial, one an id, in the order in which they were first recorded; the last line of each counts.

    Raises:
        UserError: a newer version of this program wrote one.
    """
    return list(once_at_rest("trials", str(store.trials), lambda: _read_trials(store)))


def _read_trials(store: Store) -> list[TrialRecord]:
    return list({record.trial_id: record for record in read_objects(store.trials, _shown(store), _KIND)}.values())


def trial_problems(store: Store) -> list[str]:
    """Everything that is wrong with the recorded trials, a line each."""
    problems = []
    for found in checked_objects(store.trials, _shown(store), _KIND):
        if isinstance(found, str):
            problems.append(found)
        else:
            problems += [f"{found.trial_id}: {problem}" for problem in _contradictions(found)]
    return problems


def _shown(store: Store) -> str:
    return f"tune/{store.trials.name}"


def _contradictions(record: TrialRecord) -> list[str]:
    """What the fields of a trial contradict in each other."""
    config, steps = record.config, [step for step, _ in record.losses]
    wrong = [
        name
        for name, own, said in (
            ("lr", config.lr, record.lr),
            ("seed", config.seed, record.seed),
            ("steps", config.steps, record.steps),
            ("variant", config.variant, record.variant),
        )
        if own != said
    ]
    rungs = rung_steps(record.steps)
    if not steps or tuple(steps) != rungs[: len(steps)]:
        wrong.append("losses")
    if [record.steps_made] != steps[-1:]:
        wrong.append("steps_made")
    if (record.state == "done") != (len(steps) == len(rungs)):
        wrong.append("state")
    return [f"{name} is not that of its config or its losses" for name in wrong]
