"""Write everything that people read of the results: README's tables, the drawings, and the page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..analysis.compared_sections import ComparedSection, compared_sections, failures
from ..core.errors import UserError
from ..core.files import read_regular, write_bytes
from ..store.folders import Store
from .figures import drawings
from .html import HTML, page
from .markdown import markdown, write_into
from .rendering import svg
from .svg import is_drawing

FIGURES = "figures"


def write_report(
    store: Store, readme: Path, references: Sequence[Path] = (), sections: Sequence[ComparedSection] | None = None
) -> tuple[str, list[Path]]:
    """Render results into the readme, results/figures and results/report.html; each is written only where it changed.

    Args:
        sections: those of the store, where they were computed already.

    Returns:
        the tables as Markdown, and the files that changed.

    Raises:
        UserError: no run has been recorded, one cannot be backed, a reference cannot be read, or the readme has no
            place for the tables. Nothing is written then.
    """
    sections, failed = compared_sections(store) if sections is None else sections, failures(store)
    folder = store.results / FIGURES
    text = markdown(sections, failed, references, os.path.relpath(folder, readme.resolve().parent))
    files = {
        folder / name: svg(drawn, folder / name) for section in sections for name, drawn in drawings(section).items()
    }
    files[store.results / HTML] = page(sections, failed, store, references)
    _require_inside(store, files)
    changed = [readme] if write_into(readme, text) else []
    for stale in sorted({path for path in folder.glob("*.svg") if is_drawing(path)} - set(files)):
        stale.unlink()
        changed.append(stale)
    for path, content in files.items():
        if not path.exists() or read_regular(path) != content.encode():
            write_bytes(path, content.encode())
            changed.append(path)
    return text, changed


def _require_inside(store: Store, paths: Iterable[Path]) -> None:
    """Refuse to follow a link that leads out of results/: what it names would be replaced, and is not of a report.

    Raises:
        UserError: with the link.
    """
    root = store.results.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(root):
            link = path if path.is_symlink() else path.parent
            raise UserError(f"{link} is a link that leads out of {store.results}; remove it, and report writes it anew")
