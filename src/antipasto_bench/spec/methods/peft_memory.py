"""What PEFT said of settings before, kept on disk: to import it takes seconds, and most commands ask nothing new.

An answer is kept for a question to the very files of PEFT that are installed, and for the versions of what it imports.
Where they differ, PEFT is asked again; likewise where it is imported already, where a line is damaged, and where PEFT
refuses something: only what it accepts is kept. ANTIPASTO_PEFT_CACHE names the folder, and `off` keeps nothing.
"""

from __future__ import annotations

import json
import os
import sys
import types
import typing
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from ...core.files import read_regular
from ...core.fingerprint import digest
from ...core.json_types import Json

FORM = 1  # of questions, answers and lines
_PLAIN = {"int": int, "float": float, "str": str, "bool": bool, "null": type(None), "any": Any, "mapping": Json}

T = TypeVar("T")


def remembered(question: list[Any], ask: Callable[[], T]) -> T:
    """The answer to a question, from disk or from PEFT; an exception of `ask` passes, and is not kept.

    Args:
        question: JSON that says all that the answer depends on, but for what is installed.
        ask: imports PEFT; its answer is JSON.
    """
    file = _file()
    try:
        key = json.dumps(question, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        return ask()
    if file is None:
        return ask()
    kept = _read(file)
    if key in kept and "peft" not in sys.modules:
        return typing.cast("T", kept[key])
    answer = ask()
    if key not in kept or kept[key] != answer:
        kept[key] = answer
        _append(file, key, answer)
    return answer


@cache
def _file() -> Path | None:
    """Where answers of what is installed now are kept; None where PEFT is not, or nothing is to be kept."""
    chosen = os.environ.get("ANTIPASTO_PEFT_CACHE")
    try:
        spec = None if chosen == "off" else find_spec("peft")
    except ValueError:  # a test or a user has put something else in its place
        spec = None
    if spec is None or not spec.submodule_search_locations:
        return None
    stamps = []
    for root in map(Path, spec.submodule_search_locations):
        stamps += [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*.py"))]
    versions = [_version(name) for name in ("peft", "transformers", "torch")]
    installed = digest([FORM, versions, sys.version, stamps])
    home = os.environ.get("XDG_CACHE_HOME")
    default = (Path(home) if home else Path.home() / ".cache") / "antipasto" / "peft"
    return (Path(os.path.expanduser(chosen)) if chosen else default) / f"settings-{installed}.jsonl"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _read(file: Path) -> Json:
    """Answers by question; lines that are damaged are left out."""
    try:
        lines = read_regular(file).decode(errors="replace").splitlines()
    except OSError:
        return {}
    kept: Json = {}
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            entry = json.loads(line)
            if entry["digest"] == digest([entry["question"], entry["answer"]]):
                kept[entry["question"]] = entry["answer"]
    return kept


def _append(file: Path, key: str, answer: Any) -> None:
    """Add a line in one write, as other processes do; it begins a new line even where the last one was cut off."""
    line = json.dumps({"question": key, "answer": answer, "digest": digest([key, answer])})
    with suppress(OSError):  # a full disk or a folder that is read alone: it is asked again
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "ab", buffering=0) as end:
            end.write(f"\n{line}\n".encode())


# ------------------------------------------------------------------ types of settings, in JSON


def spelled(hint: Any) -> Any:
    """A type of a setting in JSON.

    Raises:
        TypeError: it is none of those that settings have.
    """
    for name, plain in _PLAIN.items():
        if hint == plain:
            return name
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"one of": list(inner)}
    if origin is list and len(inner) == 1:
        return {"list of": spelled(inner[0])}
    if origin in (Union, types.UnionType):
        return {"any of": [spelled(each) for each in inner]}
    raise TypeError(f"{hint!r} is no type of a setting")


def type_of(spelling: Any) -> Any:
    """The type that `spelled` was given."""
    if isinstance(spelling, str):
        return _PLAIN[spelling]
    ((kind, inner),) = spelling.items()
    if kind == "one of":
        return Literal[tuple(inner)]
    if kind == "list of":
        return list[type_of(inner)]  # type: ignore[misc]  # a type that is only known here
    return Union[tuple(type_of(each) for each in inner)]  # noqa: UP007  # likewise
