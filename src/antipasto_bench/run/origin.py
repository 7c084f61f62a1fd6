"""Where a trained adapter comes from: code, machine, and digests of the very model and rows, however they are named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from ..core.fingerprint import model_fingerprint
from ..core.provenance import provenance
from ..spec.config import RunConfig
from ..store.items import items_digest
from ..store.origins import DataDigest, ModelSource, Provenance
from .data import Splits
from .models import has_linear_attention, loading_packages, model_commit, remote_code
from .row_columns import QUESTION_FIELDS


def provenance_of(run: RunConfig, model: Any, splits: Splits, more_packages: Iterable[str] = ()) -> Provenance:
    """The provenance of training a run, and of its validation questions; tests are not in it.

    Args:
        splits: the rows and questions that are used.
        more_packages: that it is computed with.
    """
    data = {"train": _digest(splits.train, splits.origin.commit)}
    if splits.valid is not None:
        data["valid"] = _digest(splits.valid.select(QUESTION_FIELDS), splits.valid_commit)
    base = ModelSource(source=model_fingerprint(run.model), commit=model_commit(run))
    here = provenance(model.device, has_linear_attention(model), (*loading_packages(run), *more_packages))
    return Provenance(**here.model_dump(), model=base, data=data, remote_code=remote_code(run))


def _digest(rows: pl.DataFrame, commit: str | None) -> DataDigest:
    return DataDigest(rows=len(rows), sha256=items_digest(rows), commit=commit)
