"""Where figures and page are written: to a checkout's own files inside one, elsewhere only to a folder that is named.

A suite's record is `<results>/speed/<hardware>/<suite>.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UserError
from ..core.paths import find_project

PAGE = "docs/speed.md"


@dataclass(frozen=True)
class Places:
    """The results folder, and the page; None where no page is to be written."""

    results: Path
    page: Path | None


def choose_places(results: Path | None, page: Path | None, page_only: bool = False) -> Places:
    """Where the figures and the page go.

    Args:
        results: the folder that holds `speed/`; by default the checkout's.
        page: the file to write; by default the checkout's docs/speed.md, if the results are the checkout's own.
        page_only: nothing is measured: a page must be named, and the results must hold figures.

    Raises:
        UserError: there is no checkout here and no `results`, or what `page_only` needs is missing.
    """
    folder = results_folder(results)
    root = find_project()
    if page is None and root is not None and folder == (root / "results").resolve():
        page = root / PAGE
    if page_only and page is None:
        raise UserError("--page-only has no page to write; name it with --page FILE")
    if page_only and not any(folder.glob("speed/*/*.json")):
        raise UserError(f"--page-only: no figures in {folder / 'speed'}; measure some with: antipasto-bench speed")
    return Places(folder, None if page is None else page.resolve())


def results_folder(results: Path | None) -> Path:
    """This folder, or the results folder of the checkout around the current folder.

    Raises:
        UserError: none is given, and there is no checkout.
    """
    if results is not None:
        return results.resolve()
    root = find_project()
    if root is None:
        raise UserError(
            "speed writes its figures into a checkout of the project, and the current folder is in none; "
            "name a folder for them with --results DIR, and a file for the page with --page FILE"
        )
    return (root / "results").resolve()
