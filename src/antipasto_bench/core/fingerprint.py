"""Files named by their content: what makes a run's id the same wherever its data lie."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from .files import require_regular
from .packaged_models import PACKAGED
from .paths import EMBEDDED, benchmark_dir, locate

T = TypeVar("T")

_at_rest: ContextVar[dict[tuple[str, str], Any] | None] = ContextVar("_at_rest", default=None)


@contextmanager
def files_at_rest() -> Iterator[None]:
    """Look at each file once in a block, for a command that reads hundreds of rows of the same files and then ends."""
    token = _at_rest.set({})
    try:
        yield
    finally:
        _at_rest.reset(token)


def once_at_rest(kind: str, name: str, compute: Callable[[], T]) -> T:
    """What a file gives, such as a fingerprint: computed anew each time, and within `files_at_rest` once."""
    seen = _at_rest.get()
    if seen is None:
        return compute()
    if (kind, name) not in seen:
        seen[kind, name] = compute()
    value: T = seen[kind, name]
    return value


def fingerprint(reference: str) -> str:
    """`sha256:...` of a file's or folder's content; any other string (a hub id) as it is."""
    return once_at_rest("file", reference, lambda: _fingerprint(reference))


def _fingerprint(reference: str) -> str:
    place = locate(reference)
    return reference if place is None else _hash_content(place, _stamp(place))


def _stamp(place: Path) -> tuple[tuple[str, int, int], ...]:
    # Hidden files and caches are of a machine, not of a model or a data set.
    inside = (p for p in place.rglob("*") if p.is_file() and p.suffix != ".pyc")
    files = sorted(p for p in inside if not any(part.startswith(".") for part in p.relative_to(place).parts))
    files = [place] if place.is_file() else files
    return tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files)


@lru_cache(maxsize=64)
def _hash_content(place: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    """sha256 of the content. The stamp only makes the cache miss when a file has changed."""
    total = hashlib.sha256()
    for name, _, _ in stamp:
        if place.is_dir():
            total.update(Path(name).relative_to(place).as_posix().encode())
        with open(name, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{total.hexdigest()}"


def model_fingerprint(model: str) -> str:
    """A model by the content of its folder or file, a packaged one by that of its wheel; a hub id as it is.

    A folder without a config.json is no model and is refused where it is loaded: it can hold a whole disk.
    """
    return once_at_rest("model", model, lambda: _model_fingerprint(model))


def _model_fingerprint(model: str) -> str:
    if model in PACKAGED:
        return PACKAGED[model].fingerprint
    place = None if model in EMBEDDED else locate(model)
    if place is not None and place.is_dir() and not (place / "config.json").is_file():
        return model
    return fingerprint(str(EMBEDDED.get(model, model)))


def task_fingerprint(task: str) -> str:
    """A task of this project by what its folder holds, and the one that it includes; lm-eval's own by its name."""
    return once_at_rest("task", task, lambda: _task_fingerprint(task))


def _task_fingerprint(task: str) -> str:
    folder = benchmark_dir() / "tasks" / task
    if not (folder / f"{task}.yaml").is_file():
        return task
    text = (folder / f"{task}.yaml").read_text(encoding="utf-8")
    included = re.search(r"^include:\s*(\S+)", text, flags=re.MULTILINE)
    parts = [folder, *([(folder / included[1]).parent] if included else [])]  # with the code of its filters
    return f"{task}@{digest([fingerprint(str(part)) for part in parts])}"


def sha256_of(path: Path) -> str:
    """Hex digits of a file's content."""
    require_regular(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Eight hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
