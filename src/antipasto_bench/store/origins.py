"""Where a result comes from: the code and machine, the model and the data, by their digests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..core.provenance import CodeAndMachine, GitState


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, validate_assignment=True)


class DataDigest(Part):
    """The very rows that were used, whatever their source calls them."""

    rows: int
    sha256: str
    commit: str | None = None  # of a hub data set
    repeated: int = 0  # test questions that were left out, since another has the same prompt


class ModelSource(Part):
    source: str  # the fingerprint of a model folder, or a hub id
    commit: str | None  # of a hub model


class CostsOrigin(CodeAndMachine):
    """Where, when and by what code costs were measured: for this run, or for one whose adapter costs the same."""

    measured_at: str | None = None  # UTC, ISO 8601
    code: str | None = None  # digest of every line of both packages
    train: str | None = None  # sha256 of the rows that the batch was taken from, as `DataDigest` has it


class Provenance(CodeAndMachine):
    """Code and machine of a run, and digests of the model and the data that it used."""

    model: ModelSource | None = None
    data: dict[str, DataDigest] = Field(default_factory=dict)  # train, valid, test:TASK, general
    eval_batch_size: int | str | None = None  # questions at once, as it was in the end
    generation_settings_dropped: dict[str, Any] = Field(default_factory=dict)  # of the model's own, left out of scoring
    test_overlap: dict[str, int] = Field(default_factory=dict)  # rows that hold test questions, by kind
    remote_code: str | None = None  # digest of the model's own Python files, where trust_remote_code ran them
    costs: CostsOrigin | None = None  # older records lack it where the run itself measured them
    measured_again: GitState | None = None  # the code of a later measurement of forgetting
