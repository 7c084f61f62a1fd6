"""The data and the evaluation of a run, sections of its config."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..core.fingerprint import fingerprint, task_fingerprint
from .identity import NOT_IDENTITY, Counts

TRAINING = Counts(when="trained")
# 1: an answer's last number, always from merged weights, the model's own generation settings
# 2: batches that end with their last answer; in bfloat16 the last bits of an answer depend on what shares its batch
# 3: rows leave a batch as they end, and the next questions take their places (run/open_rows.py says when)
SCORING_VERSION: Final = 3


def _questions_fingerprint(reference: str | None) -> str | None:
    return reference if reference in (None, "holdout", "none") else fingerprint(reference)


def _task_fingerprints(tasks: tuple[str, ...]) -> list[str]:
    return [task_fingerprint(task) for task in tasks]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Strict):
    """What is trained on: rows of MetaMathQA's schema."""

    train: Annotated[str, Counts(content=fingerprint, place=True)]
    split: str = "train"
    revision: Annotated[str | None, Counts(older=None)] = Field(None, description="branch, tag or commit of a hub set")
    overlap: Annotated[Literal["refuse", "drop", "refuse-copies", "allow"], Counts(older="allow")] = Field(
        "refuse",
        description="training rows that share a question or 13 words in a row with a test question, and validation "
        "questions that are one: refuse the data, drop those rows, refuse only whole copies, or allow all",
    )
    limit: int | None = Field(None, ge=1, description="use only this many rows")
    max_length: Annotated[int, TRAINING] = Field(512, ge=8, description="longer examples, in tokens, are left out")
    truncate: Annotated[bool, Counts(when="trained", older=False)] = Field(
        False, description="cut longer examples at data.max_length; left out are those of whose response nothing stays"
    )
    max_characters: Annotated[int | None, Counts(when="trained", older=None)] = Field(
        None, ge=1, description="leave out rows whose query and response, with a space between, have more characters"
    )
    calibration: Annotated[int, Counts(when="calibrated", protocol=False)] = Field(
        64, ge=1, description="examples shown to the variants that look at data"
    )


class EvalConfig(Strict):
    """What is scored on: lm-eval tasks, and a validation split scored the same way."""

    tasks: Annotated[tuple[str, ...], Counts(content=_task_fingerprints)] = Field(min_length=1)
    data: Annotated[str | None, Counts(content=_questions_fingerprint, place=True)] = Field(
        None, description="test questions in place of the first task's own"
    )
    revision: Annotated[str | None, Counts(older=None)] = Field(
        None, description="branch, tag or commit of the hub set that eval.data or the first task's own questions are"
    )
    valid: Annotated[str, Counts(content=_questions_fingerprint, place=True)] = Field(
        "holdout", description="questions, or `holdout` (set aside from data.train), or `none`"
    )
    valid_limit: int = Field(200, ge=1)
    limit: int | None = Field(None, ge=1, description="only the first questions of each task")
    answer_limit: Annotated[int | None, Counts(older=None)] = Field(
        None, ge=1, description="answer only the first of those questions; the held-out loss is of all of them"
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        32, description="questions at once; `auto` is what the free memory holds, on which answers can then depend"
    )
    backend: Annotated[Literal["hf", "static", "continuous", "vllm"], Counts(older="hf")] = Field(
        "hf", description="what generates answers"
    )
    max_new_tokens: Annotated[int | None, Counts(older=None)] = Field(
        None, ge=1, description="the longest answer, in tokens, of every task that generates; null for the task's own"
    )
    stop: Annotated[Literal["task", "decided"], Counts(older="task")] = Field(
        "task",
        description="where an answer ends: as its task says, or also behind the line that decides its score, whatever "
        "would come next; for tasks that the filter given-answer scores",
    )
    merge_bound: Annotated[float | None, Counts(older=None)] = Field(
        0.01,
        ge=0,
        description="score merged weights where their outputs are this near those of the trained model, relative to "
        "what the adapter changes; null to merge whatever that costs",
    )
    version: Annotated[Literal[1, 2, 3], Counts(older=1)] = Field(
        SCORING_VERSION, description="of the rules of scoring; results of older versions are read, and made no more"
    )
    general: Annotated[str, Counts(identity=False, place=True)] = Field(
        "none", description="texts to measure forgetting on: a file, a hub id, or `none`"
    )
    general_limit: Annotated[int, NOT_IDENTITY] = Field(200, ge=1, description="how many of them")

    @property
    def answered(self) -> int | None:
        """How many questions of each test task are answered at most: the first ones; None for all."""
        return min((limit for limit in (self.limit, self.answer_limit) if limit is not None), default=None)

    @field_validator("tasks", mode="before")
    @classmethod
    def _one_task(cls, value: Any) -> Any:
        if isinstance(value, str):
            return (value,)
        return tuple(value) if isinstance(value, list) else value  # strict reading takes no list for a tuple
