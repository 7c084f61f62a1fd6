"""What is written of this machine's files: a name, never where they lie, nor whose machine it is.

Evidence is for others to read. A digest beside the name says which content it was.
"""

from __future__ import annotations

import getpass
import re
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .packaged_models import PACKAGED
from .paths import EMBEDDED, benchmark_dir, find_project, locate

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")  # org/name:config, or a single word
_ELSEWHERE = re.compile(
    r"[/~\\]|\.{1,2}([/\\]|$)|[A-Za-z]:[/\\]"
)  # how a path begins that is not relative to a project
_PART = r"[^\s/\\'\"`:;,()\[\]]"  # a character of a path's component, as paths stand in messages
_PATH = re.compile(rf"(?<![\w.~/\\:-])(?:[A-Za-z]:)?[/\\](?:{_PART}+[/\\])+")
_BELOW = re.compile(rf"(?<![\w.~/-])(~|TMP)/(?:{_PART}+/)+")
_NO_NAMES = ("root", "localhost")  # so many machines have them that they tell nothing


def last_component(reference: str) -> str:
    """The last component of a path of any system; a path that has none is a `folder`."""
    return re.split(r"[/\\]+", reference.rstrip("/\\"))[-1] or "folder"


def shown_name(reference: str) -> str:
    """A recorded reference for people: rows can hold paths out of a project or into a hidden folder of it, of which
    only the last component is shown.

    The text alone decides, so the same row is shown alike on every machine.
    """
    folders = re.split(r"[/\\]", reference)[:-1]
    elsewhere = any(folder.startswith(".") for folder in folders) or _ELSEWHERE.match(reference)
    return last_component(reference) if elsewhere else reference


def recorded_name(reference: str) -> str:
    """A model's or data set's reference as it is recorded.

    Hub ids and packaged names stay as they are. A file or folder of the project, or of the installed benchmark, is
    named relative to that; any other by its last component.
    """
    if reference in EMBEDDED or reference in PACKAGED:
        return reference
    place = locate(reference)
    if place is None:
        return reference if _HUB_ID.fullmatch(reference) else last_component(reference)
    project = find_project()
    # A project's benchmark folder can be a link to another one's.
    for root in (benchmark_dir().parent, benchmark_dir().resolve().parent, project):
        if root is not None and place.is_relative_to(root.resolve()) and _is_part(place, root.resolve(), project):
            return place.relative_to(root.resolve()).as_posix()
    return last_component(str(place))


def _is_part(place: Path, root: Path, project: Path | None) -> bool:
    """Whether a file belongs to a project, or to the benchmark folder of an installation; what lies in a hidden folder,
    as caches and environments do, belongs to neither.
    """
    inside = root if project is not None and root == project.resolve() else root / "benchmark"
    if not place.is_relative_to(inside) or place == root:
        return False
    return not any(folder.startswith(".") for folder in place.relative_to(root).parts[:-1])


def absolute_reference(reference: str) -> str:
    """A reference by which the same file is reached from any folder, where `recorded_name` alone would not do."""
    place = locate(reference)
    return str(place) if place is not None and recorded_name(reference) != reference else reference


def without_places(text: str, names: Mapping[str, str]) -> str:
    """A text for the record: without paths, and without the names of this machine and its user.

    The project is written as `.`, the home folder as `~`, the folder for temporary files as `TMP`, and any other path
    by its last component.

    Args:
        names: what to write in place of a path, such as that of a model.
    """
    for path, name in [*sorted(names.items(), key=lambda pair: -len(pair[0])), *_folders()]:
        parts = re.split(rf"(?<![\w.~-]){re.escape(path)}(?!\w|[.-]\w)", text)
        text = name.join(parts)
    text = _BELOW.sub(r"\1/", text)
    text = _PATH.sub("", text)
    for word, name in _own_names():
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", name, text)
    return text


def shown_text(text: str) -> str:
    """A recorded error text for people: absolute paths, which older rows can hold, by their last components."""
    return _PATH.sub("", text)


def _folders() -> list[tuple[str, str]]:
    """The folders that have a short name, the deepest first."""
    named = [(find_project(), "."), (Path(tempfile.gettempdir()), "TMP")]
    with suppress(RuntimeError):  # a user without a home
        named.append((Path.home(), "~"))
    paths = {str(form): name for place, name in named if place is not None for form in (place, place.resolve())}
    return sorted(((path, name) for path, name in paths.items() if len(path) > 1), key=lambda pair: -len(pair[0]))


def _own_names() -> list[tuple[str, str]]:
    host = socket.gethostname()
    names = [(host, "HOST"), (host.partition(".")[0], "HOST")]
    with suppress(OSError, KeyError, ImportError):
        names.append((getpass.getuser(), "USER"))
    return [(word, name) for word, name in names if len(word) > 2 and word not in _NO_NAMES]
