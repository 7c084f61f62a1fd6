"""Names that become part of a path, and names that are shown in a line: one rule for each."""

from __future__ import annotations

import re

from .errors import UserError
from .text import printable

MOST_CHARACTERS = 200  # of a run id: a file system allows 255 bytes, and files of a run add endings to its id
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_MOST_OF_A_LINE = 1000


def file_name(name: str) -> str:
    """A run id, which paths are made of: letters, digits and `._+-`, no other separator.

    Raises:
        ValueError: it is empty, long, or could name a file outside its folder.
    """
    if not _FILE_NAME.fullmatch(name) or len(name) > MOST_CHARACTERS:
        raise ValueError(f"{_short(name)} is no name of a file")
    return name


def variant_name(name: str) -> str:
    """The name of a variant: that of a file, with one colon where it is of another program's kind, as `peft:vera`.

    Raises:
        ValueError: it is none.
    """
    kind, colon, own = name.partition(":")
    file_name(kind)
    if colon:
        file_name(own)
    return name


def line(text: str) -> str:
    """The name of a model, which is shown in one line.

    Raises:
        ValueError: it is empty, long, or holds a line break or another control character.
    """
    if not text.strip() or printable(text, keep="") != text or len(text) > _MOST_OF_A_LINE:
        raise ValueError(f"{_short(text)} is no name")
    return text


def task_name(name: str) -> str:
    """The name of a task, which may be that of a folder below benchmark/tasks.

    Raises:
        ValueError: it is no `line`, or leads out of the folder of the tasks.
    """
    if line(name).startswith(("/", "\\", "~")) or ".." in re.split(r"[/\\]", name):
        raise ValueError(f"{_short(name)} is no name of a task")
    return name


def checked_run_id(run_id: str) -> str:
    """A run id that somebody typed, or the name of a file, before a path is made of it.

    Raises:
        UserError: no run can have this id.
    """
    try:
        return file_name(run_id)
    except ValueError as error:
        raise UserError(f"{_short(run_id)} is no run id; `antipasto-bench list` shows them all") from error


def _short(name: str) -> str:
    return repr(name) if len(name) <= 60 else f"{name[:57]!r}..."
