"""What takes seconds to render, SVG drawings: the last report's where it is the same.

Each says what it was rendered from, and the digest of their own text: a file that was altered is rendered anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path

from ..core.files import read_regular
from .svg import VegaLite

RENDERER = version("vl-convert-python")
_NUMBERED = re.compile(r'(id="|url\(#)(gradient_|clip)(\d+)')  # of what a drawing refers to within itself
_DRAWN = re.compile(r"<!-- drawn by antipasto-bench from ([0-9a-f]{64}), text ([0-9a-f]{64}) -->\n\Z")


def svg(specification: VegaLite, path: Path) -> str:
    """A drawing as SVG, with a comment behind it that says what it was drawn from.

    Args:
        path: where an earlier report may have drawn it.
    """
    import vl_convert

    vega_lite = vl_convert.get_vegalite_versions()[-1]
    source = _sha256(json.dumps([specification, vega_lite, RENDERER], sort_keys=True))
    earlier = _text(path)
    drawn = _DRAWN.search(earlier)
    if drawn is not None and drawn.groups() == (source, _sha256(earlier[: drawn.start()])):
        return earlier
    text = f"{_numbered_from_0(vl_convert.vegalite_to_svg(specification, vl_version=vega_lite))}\n"
    return f"{text}<!-- drawn by antipasto-bench from {source}, text {_sha256(text)} -->\n"


def _numbered_from_0(drawing: str) -> str:
    """A drawing with the numbers of its gradients and clips from 0: Vega counts them through all that it has drawn."""
    places: dict[tuple[str, str], int] = {}

    def renumbered(match: re.Match[str]) -> str:
        before, kind, number = match.groups()
        used = sum(name == kind for name, _ in places)
        return f"{before}{kind}{places.setdefault((kind, number), used)}"

    return _NUMBERED.sub(renumbered, drawing)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text(path: Path) -> str:
    """A file's text; empty where it cannot be read, and so is rendered anew."""
    try:
        return read_regular(path).decode()
    except (OSError, UnicodeDecodeError):
        return ""
