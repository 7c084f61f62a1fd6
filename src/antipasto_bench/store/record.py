"""What is recorded of a run: one typed, versioned model. A line of results/table.ndjson is one of these.

The table's polars schema follows from the fields, in their order; nested fields are JSON text in the frame (NESTED).
What changes their meaning or their names is a new version, with a migration from the one before (migrations.py).
"""

from __future__ import annotations

import json
import types
import typing
from typing import Annotated, Any, Literal, Self

import polars as pl
from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationError

from ..core.json_types import Json
from ..core.names import file_name, line, task_name, variant_name
from ..spec.config import BASE, RunConfig
from ..spec.references import recorded_config, shown_config, with_references
from .capacity import rank_filled
from .checked_json import parse_object, with_digest, without_digest
from .curves import ValidCurve, curve_in_words
from .migrations import MIGRATIONS
from .origins import Part, Provenance

SCHEMA_VERSION = 5

# Names of a row that paths are made of, checked whenever one is read or set.
FileName = Annotated[str, AfterValidator(file_name)]
VariantName = Annotated[str, AfterValidator(variant_name)]
Line = Annotated[str, AfterValidator(line)]
TaskName = Annotated[str, AfterValidator(task_name)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}\z")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]

Score = tuple[float | None, float | None]  # value and standard error
Metrics = dict[TaskName, dict[str, dict[str, Score]]]  # by task, filter and metric


class Key(Part):
    """Which run it is, and what became of it."""

    schema_version: int = Field(SCHEMA_VERSION, alias="schema")
    run_id: FileName
    status: Literal["ok", "failed"] | None = None  # None while the run is under way
    error: str | None = None  # why it failed
    failed_by: Literal["run", "machine"] | None = None  # "run": it diverged, and would again; None: not known
    model: Line
    variant: VariantName
    rank: int | None = None
    lr: float | None = None
    seed: int | None = None
    steps: int | None = None
    protocol: Digest  # shared by runs that differ in adapter, lr and seed alone
    scoring: Digest  # shared by runs that score the same model alike, however trained
    arm: Digest  # shared by runs that differ in seed alone


class Scores(Part):
    """Shares of right answers, 0 to 1, with standard errors over the questions."""

    test_accuracy: float | None = None  # by the headline filter
    test_stderr: float | None = None
    test_strict: float | None = None  # by strict-match: only answers that were announced
    test_strict_stderr: float | None = None
    test_repeating: float | None = None  # of all answers, those that end in a text that they repeat
    test_n: int | None = None  # questions
    valid_accuracy: float | None = None
    valid_stderr: float | None = None
    valid_strict: float | None = None
    valid_n: int | None = None
    test_loss: float | None = None  # nats a completion token of the reference solutions, by the trained model
    test_loss_stderr: float | None = None  # over the questions
    valid_loss: float | None = None
    valid_loss_stderr: float | None = None
    scored_merged: bool | None = None  # whether merged weights were scored; else the adapter was applied at each step
    merge_error: float | None = None  # how far merged outputs are from unmerged, relative to the adapter's effect


class Forgetting(Part):
    """Loss on general text, nats a token."""

    general_loss_base: float | None = None  # before the adapter was attached
    general_loss: float | None = None  # with the trained adapter
    general_tokens: int | None = None


class Size(Part):
    trained_parameters: int | None = None
    added_macs_per_token: int | None = None
    adapter_bytes: int | None = None  # of its file
    adapter_sha256: Sha256 | None = None  # of its file's content; None of the untuned model, and in older records


class Costs(Part):
    """What is measured of an adapter beside its base; None where a variant has no such cost."""

    forward_ms: float | None = None  # median over turns, one batch
    backward_ms: float | None = None
    base_forward_ms: float | None = None
    base_backward_ms: float | None = None
    priced_tokens: int | None = None  # of that batch, padding included
    saved_bytes: int | None = None  # saved for the backward pass, beside the model's own tensors
    base_saved_bytes: int | None = None
    peak_bytes: int | None = None  # of attaching and training: resident set of the process, or allocated on the GPU
    attach_cold_s: float | None = None  # without cached SVDs, calibration included
    attach_warm_s: float | None = None  # with them
    merge_s: float | None = None
    generated_tokens_per_s: float | None = None  # unmerged
    base_generated_tokens_per_s: float | None = None

    @property
    def measured(self) -> bool:
        return self.base_forward_ms is not None


class Training(Part):
    first_loss: float | None = None  # nats a completion token
    last_loss: float | None = None  # mean of the last tenth of the steps
    mean_grad_norm: float | None = None
    processes: int | None = None  # that trained and scored it together
    train_tokens: int | None = None  # without padding
    train_tokens_per_s: float | None = None
    train_rows_at_once: int | None = None  # of a micro-batch in one pass; None where memory held whole ones
    completion_tokens: int | None = None  # that bore the loss (all with loss_on=all), a repeated example's once
    valid_curve: ValidCurve | None = None  # held-out loss while it trained, nats a completion token, by step


class Timing(Part):
    """Wall time in seconds."""

    load_s: float | None = None
    attach_s: float | None = None
    train_s: float | None = None
    valid_curve_s: float | None = None  # of measuring the curve, no part of train_s
    eval_s: float | None = None  # test and validation
    total_s: float | None = None  # but for the measuring of costs
    measure_s: float | None = None  # forgetting, held-out loss and costs
    finished_at: str | None = None  # UTC, ISO 8601


# Fields come in the order of the base classes, the last one first.
class RunRecord(Timing, Training, Costs, Size, Forgetting, Scores, Key):
    """All that is recorded of a run."""

    items_sha256: Sha256 | None = None  # of items/<run_id>.parquet's content, see items_digest
    file_sha256: dict[str, Sha256] = Field(default_factory=dict)  # of other files: see FILES in store/file_digests.py
    metrics: dict[str, Metrics] | None = None  # by split: every task, filter and metric that was asked for
    config: RunConfig
    provenance: Provenance | None = None

    @classmethod
    def of(cls, run: RunConfig, run_id: str, model: str | None = None) -> Self:
        """The record that a run begins with: files and folders are names in it, without where they lie.

        Args:
            run_id: of this run; digested once, since the files behind it may change while the run goes on.
            model: the name that an earlier row of the run has for its model.
        """
        untuned = run.variant == BASE
        config = recorded_config(run)
        if model is not None:
            config = with_references(config, {"model": model})
        record = cls(
            run_id=run_id,
            model=config.model,
            variant=run.variant,
            rank=run.rank if isinstance(run.rank, int) else None,
            lr=run.lr if run.trains else None,
            seed=None if untuned else run.seed,
            steps=run.steps if run.trains else None,
            protocol=run.protocol,
            scoring=run.scoring,
            arm=run.arm,
            config=RunConfig.model_validate(config.model_dump(mode="json")),  # every field is set: none is left out
        )  # type: ignore[call-arg]  # `schema` has a default under its other name
        if untuned:
            record.trained_parameters = record.added_macs_per_token = 0
        return record

    @property
    def untuned(self) -> bool:
        """Whether it is the base model, without an adapter."""
        return self.variant == BASE

    @property
    def forgetting(self) -> float | None:
        """Rise of the loss on general text, nats a token."""
        if self.general_loss is None or self.general_loss_base is None or self.untuned:
            return None
        return self.general_loss - self.general_loss_base

    @property
    def parameters_per_token(self) -> float | None:
        """Trained parameters for each completion token trained on; None in older records, and where none was."""
        if not self.completion_tokens or not self.trained_parameters:
            return None
        return self.trained_parameters / self.completion_tokens

    @property
    def rank_to_fill(self) -> int | None:
        """The rank that the data could fill, see store/capacity.py; None where that is not known."""
        if not self.completion_tokens or not self.trained_parameters:
            return None
        return rank_filled(self.variant, self.rank, self.trained_parameters, self.completion_tokens)

    @property
    def valid_curve_text(self) -> str | None:
        """The lowest held-out loss while it trained, and the last, in words; None where none was measured."""
        return curve_in_words(self.valid_curve) if self.valid_curve else None

    def take(self, part: BaseModel) -> None:
        """Set the fields that are set in a part, such as `Costs`."""
        for name in part.model_fields_set:
            setattr(self, name, getattr(part, name))

    def to_json(self) -> Json:
        """The values that were set, as JSON has them."""
        return {"schema": self.schema_version} | self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def config_as_shown(self) -> Json:
        """The config's values that were recorded, keys in alphabetical order, and paths of older records by name."""
        return _sorted(shown_config(self.config).model_dump(mode="json", exclude_unset=True))

    def to_row(self) -> Json:
        """A row of the frame: every field, nested ones as JSON text."""
        values = self.to_json()
        return {
            name: json.dumps(values[name], sort_keys=True) if name in NESTED and values.get(name) is not None
            else values.get(name)
            for name in SCHEMA
        }  # fmt: skip


def _sorted(value: Json) -> Json:
    return dict(json.loads(json.dumps(value, sort_keys=True)))


def _column(annotation: Any) -> Any:
    """The polars type of a field."""
    return {int: pl.Int64, float: pl.Float64}.get(_without_none(annotation), pl.String)


def _nested(annotation: Any) -> bool:
    kind = _without_none(annotation)
    if typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    kind = typing.get_origin(kind) or kind
    return isinstance(kind, type) and issubclass(kind, dict | list | BaseModel)


def _without_none(annotation: Any) -> Any:
    """`int` from `int | None`."""
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        return annotation
    return next(option for option in typing.get_args(annotation) if option is not types.NoneType)


_COLUMNS = {field.alias or name: field.annotation for name, field in RunRecord.model_fields.items()}
SCHEMA: dict[str, Any] = {name: _column(annotation) for name, annotation in _COLUMNS.items()}
NESTED = tuple(name for name, annotation in _COLUMNS.items() if _nested(annotation))


class NewerSchema(Exception):  # noqa: N818  (of the file, not an error of this program)
    """A record of a newer version of this program."""

    def __init__(self, run_id: str, version: int) -> None:
        super().__init__(f"schema {version}, this program reads {SCHEMA_VERSION}; update it")
        self.run_id, self.version = run_id, version


def read_record(row: str | bytes | Json, *, default_version: int | None = None) -> RunRecord:
    """A record from JSON, or from the object that `parse_object` read of it; older versions migrated.

    Args:
        default_version: of a record that does not say.

    Raises:
        ValueError: it is not a whole record of a finished or failed run, or not what was written.
        NewerSchema: a newer version of this program wrote it.
    """
    row = without_digest(row if isinstance(row, dict) else parse_object(row))
    version = row.get("schema", default_version)
    if not isinstance(version, int) or isinstance(version, bool):
        raise ValueError(f"schema {version!r} is not a version")
    if version > SCHEMA_VERSION:
        raise NewerSchema(str(row.get("run_id")), version)
    current = row | {"schema": version}
    while current["schema"] < SCHEMA_VERSION:
        if current["schema"] not in MIGRATIONS:
            raise ValueError(f"schema {current['schema']} never was")
        current = MIGRATIONS[current["schema"]](current) | {"schema": current["schema"] + 1}
    try:
        record = RunRecord.model_validate_json(json.dumps(current), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if record.status is None:
        raise ValueError("status is missing")
    for name in record.config.eval.tasks:
        task_name(name)
    return record


def record_json(record: RunRecord) -> Json:
    """A record as it is written to a file, with its digest."""
    return with_digest(record.to_json())
