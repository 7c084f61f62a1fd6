"""Rows of an Arrow table, which parquet files and the sets of `datasets` are read as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..core.errors import UserError, first_line
from .row_columns import ANY_VALUE, OPTIONAL_FIELDS, missing_column


def read_parquet(path: Path, fields: tuple[str, ...]) -> pl.DataFrame:
    """The columns of a parquet file that are read; others are not even loaded.

    Raises:
        UserError: it is no parquet file, or as `checked_columns`.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            read = _columns_of(schema.names, fields, str(path))
            table = file.read(columns=read)
    except UserError:
        raise
    except Exception as error:  # of Arrow, of the file system, or of Python where a damaged name is no UTF-8
        raise UserError(f"{path}: cannot be read as parquet: {first_line(error)}") from error
    return checked_columns(table, _classes(schema), fields, str(path))


def read_dataset(dataset: Any, fields: tuple[str, ...], name: str, *, blank: bool = False) -> pl.DataFrame:
    """The columns of a set of `datasets` that are read.

    Args:
        name: of the set, for messages.
        blank: whether texts may be blank.

    Raises:
        UserError: as `checked_columns`.
    """
    read = _columns_of(dataset.column_names, fields, name)
    try:
        table = dataset.select_columns(read).with_format("arrow")[:]
    except (pa.ArrowException, ValueError, OSError) as error:
        raise UserError(f"{name}: its Arrow file is damaged: {first_line(error)}") from error
    return checked_columns(table, dataset.features, fields, name, blank=blank)


def checked_columns(
    table: pa.Table, features: Mapping[str, Any], fields: tuple[str, ...], name: str, *, blank: bool = False
) -> pl.DataFrame:
    """Columns as text, as `row_columns` says.

    Args:
        table: of these columns alone.
        features: by column; a ClassLabel has the names of its classes.

    Raises:
        UserError: there is no row, or a column holds other values; the row is named.
    """
    if not table.num_rows:
        raise UserError(f"{name}: is empty; expected rows with {', '.join(fields)}")
    columns = {}
    for field in table.column_names:
        try:
            column = _as_text(table[field], field, getattr(features.get(field), "names", None), field in fields)
        except (pa.ArrowException, ValueError) as error:
            raise UserError(f"{name}: column {field!r} {first_line(error)}") from error
        columns[field] = pl.Series(field, pl.from_arrow(column), dtype=pl.String)
    frame = pl.DataFrame(columns)
    for field in fields if not blank else ():
        empty = frame.select(pl.arg_where(_is_blank(field))).to_series()
        if len(empty):
            raise UserError(f"{name}, row {empty[0] + 1}: no text under {field!r}; expected {', '.join(fields)}")
    optional = [field for field in frame.columns if field not in fields]
    return frame.with_columns(pl.when(_is_blank(field)).then(None).otherwise(field).alias(field) for field in optional)


def _is_blank(field: str) -> pl.Expr:
    return pl.col(field).fill_null("").str.strip_chars() == ""


def _columns_of(names: Sequence[str], fields: tuple[str, ...], name: str) -> list[str]:
    read = (*fields, *OPTIONAL_FIELDS.get(fields, ()))
    for field in read:
        if list(names).count(field) > 1:
            raise UserError(f"{name}: has two columns {field!r}; leave one")
        if field in fields and field not in names:
            raise UserError(f"{name}: has {missing_column(field, names)}")
    return [field for field in read if field in names]


def _as_text(column: Any, field: str, classes: Sequence[str] | None, required: bool) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if classes is not None and pa.types.is_integer(kind):
        valid = pc.and_(pc.greater_equal(column, 0), pc.less(column, len(classes)))
        return pc.take(pa.array(classes, pa.large_string()), pc.if_else(valid, column, None))
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary,
             pa.types.is_large_binary, pa.types.is_null)  # fmt: skip
    if any(is_kind(kind) for is_kind in texts):
        column.validate(full=True)  # that it is UTF-8; others write it too
        return column.cast(pa.large_string())
    if not required and pa.types.is_floating(kind):
        numbers = pc.if_else(pc.is_nan(column), None, column)
        if pc.all(pc.equal(numbers, pc.floor(numbers))).as_py() is not False:
            return numbers.cast(pa.int64()).cast(pa.large_string())
    if not required and pa.types.is_integer(kind):
        return column.cast(pa.large_string())
    if field in ANY_VALUE:
        return pa.nulls(len(column), pa.large_string())
    raise ValueError(f"is {kind}, expected text" + ("" if required else ", whole numbers or null"))


def _classes(schema: pa.Schema) -> Mapping[str, Any]:
    """The features that `datasets` wrote into a parquet file; none where it did not."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    from datasets import Features

    try:
        features: Mapping[str, Any] = Features.from_arrow_schema(schema)
    except Exception:  # whatever the JSON in a file's metadata makes of it; the columns are then as Arrow has them
        return {}
    return features
