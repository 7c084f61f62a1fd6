"""Write everything that people read of the results: README's tables, the drawings, and the page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..analysis.compared_sections import ComparedSection, compared_sections, failures
from ..analysis.searched import searched_sections
from ..core.errors import UserError
from ..core.files import read_regular, write_bytes
from ..store.folders import Store
from ..store.repeats import read_repeats
from ..store.trials import read_trials
from .figures import drawings
from .html import HTML, page
from .markdown import check_place, markdown, write_into
from .rendering import svg
from .repeats import repeats_markdown
from .searched import search_drawings, searches_markdown
from .short_tables import short_markdown
from .svg import is_drawing

FIGURES = "figures"


def write_report(
    store: Store,
    readme: Path,
    whole: Path,
    references: Sequence[Path] = (),
    sections: Sequence[ComparedSection] | None = None,
    repeats: Path | None = None,
) -> tuple[str, list[Path]]:
    """Render results into two pages of Markdown, results/figures and results/report.html, each only where it changed.

    Args:
        readme: the page for the best setting of each variant.
        whole: the page for every arm, column and sweep.
        sections: those of the store, where they were computed already.
        repeats: the page for the runs that were made again; it is not begun where none was.

    Returns:
        the whole tables as Markdown, and the files that changed.

    Raises:
        UserError: no run has been recorded, one cannot be backed, a reference cannot be read, or a page has no
            place for the tables. Nothing is written then.
    """
    sections, failed = compared_sections(store) if sections is None else sections, failures(store)
    folder = store.results / FIGURES
    searched = searched_sections(read_trials(store))
    text = markdown(sections, failed, references, _relative(folder, whole))
    text += f"\n{searches}\n" if (searches := searches_markdown(searched, _relative(folder, whole))) else ""
    pages = {readme: short_markdown(sections, _relative(whole, readme), _relative(folder, readme)), whole: text}
    again = read_repeats(store)
    if repeats is not None and (again or repeats.exists()):
        pages[repeats] = repeats_markdown(again)
    drawn = [*map(drawings, sections), *map(search_drawings, searched)]
    files = {folder / name: svg(drawing, folder / name) for each in drawn for name, drawing in each.items()}
    files[store.results / HTML] = page(sections, failed, store, references)
    _require_inside(store, files)
    for place in pages:
        check_place(place)
    changed = [place for place, tables in pages.items() if write_into(place, tables)]
    for stale in sorted({path for path in folder.glob("*.svg") if is_drawing(path)} - set(files)):
        stale.unlink()
        changed.append(stale)
    for path, content in files.items():
        if not path.exists() or read_regular(path) != content.encode():
            write_bytes(path, content.encode())
            changed.append(path)
    return text, changed


def _relative(path: Path, page: Path) -> str:
    """A path as a page names it."""
    return os.path.relpath(path.resolve(), page.resolve().parent)


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
