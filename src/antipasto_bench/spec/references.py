"""The settings of a run that can name a file or folder: as they are recorded, shown, and reached again.

Which settings those are is said at their fields: `Counts(place=True)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from pydantic import BaseModel

from ..core.errors import UserError
from ..core.names import line
from ..core.places import absolute_reference, recorded_name, shown_name
from ..core.text import printable
from .allowed import shown
from .config import RunConfig
from .identity import counts_of

PLACES = ("model", "data.train", "eval.data", "eval.valid", "eval.general")
WORDS = ("holdout", "none")  # in place of a file

C = TypeVar("C", bound=BaseModel)


def references(config: BaseModel) -> dict[str, str]:
    """The values that can name a file or folder, by setting, such as `data.train`."""
    values: dict[str, str] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            values |= {f"{name}.{key}": reference for key, reference in references(value).items()}
        elif counts_of(field).place and value not in (None, *WORDS):
            values[name] = value
    return values


def with_references(config: C, values: Mapping[str, str]) -> C:
    """The config with other values of some such settings; the fields that were set stay the fields that are set."""
    update: dict[str, object] = {}
    for name in type(config).model_fields:
        section = {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{name}.")}
        if section:
            update[name] = with_references(getattr(config, name), section)
        elif name in values:
            update[name] = values[name]
    changed = config.model_copy(update=update)
    changed.__pydantic_fields_set__.clear()
    changed.__pydantic_fields_set__.update(config.model_fields_set)
    return changed


def recorded_config(run: RunConfig) -> RunConfig:
    """The config for the record: names in place of paths. What they name is said by digests in the provenance."""
    return _changed(run, recorded_name)


def shown_config(run: RunConfig) -> RunConfig:
    """A recorded config for people, who need not see the paths in older records."""
    return _changed(run, shown_name)


def local_config(run: RunConfig) -> RunConfig:
    """The config for the run's own folder, with paths that lead to its files from any folder of this machine."""
    return _changed(run, absolute_reference)


def check_texts(run: RunConfig) -> None:
    """Refuse a setting that a record cannot hold as a line of text; of a path, the name that is recorded counts.

    Raises:
        UserError: it holds a control character, a line break or bytes that are no text, or is too long for a name.
    """
    config = recorded_config(run)
    try:
        line(config.model)
    except ValueError as error:
        raise UserError(f"model={shown(run.model)}: {error} that a row can have; rename the folder") from error
    for key, text in _texts(config.model_dump(), ""):
        if printable(text, keep="") != text:
            raise UserError(f"{key}={shown(text)}: holds characters that are not printable, so no row can name it")


def _texts(value: object, key: str) -> Iterator[tuple[str, str]]:
    """Every text among the settings, by the setting's whole key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}".removeprefix(".").removeprefix("adapter."))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, key)


def _changed(run: RunConfig, change: Callable[[str], str]) -> RunConfig:
    return with_references(run, {name: change(value) for name, value in references(run).items()})
