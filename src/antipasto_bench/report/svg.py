"""How drawings look as SVG files, for a light or a dark page, and which files are drawings.

Bytes depend on the numbers alone: the font is one that the renderer carries with it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from ..core.text import printable

VegaLite = dict[str, Any]  # a specification, or a part of one
Theme = Literal["light", "dark"]

FONT = "Liberation Sans"
INK: dict[Theme, str] = {"light": "#24292f", "dark": "#d7dde3"}
PAPER: dict[Theme, str] = {"light": "#ffffff", "dark": "#0d1117"}  # behind a drawing, which has no background itself
RULES: dict[Theme, str] = {"light": "#d8dee4", "dark": "#3a424c"}
FROZEN, OTHERS, UNTUNED = "frozen basis", "other adapters", "untuned model"
COLOURS: dict[Theme, dict[str, str]] = {
    "light": {FROZEN: "#0b62c4", OTHERS: "#bf5410", UNTUNED: "#57606a"},
    "dark": {FROZEN: "#6cb2ff", OTHERS: "#ffa25c", UNTUNED: "#9aa4ae"},
}
HUES: dict[Theme, list[str]] = {  # of series side by side; apart for readers who see few colours, too
    "light": ["#0b62c4", "#bf5410", "#0a7c53", "#8a3fbf", "#b3123f", "#6b5b00", "#3d6b78", "#57606a"],
    "dark": ["#6cb2ff", "#ffa25c", "#5fd4a5", "#cfa0f5", "#ff8aa5", "#d9c24e", "#8cc7d6", "#9aa4ae"],
}
THEMES: tuple[Theme, ...] = ("light", "dark")


def plain(value: Any) -> Any:
    """A specification whose texts are plain characters: names in it come from rows, and XML has no control characters.

    Args:
        value: a specification, or a part of one.
    """
    if isinstance(value, str):
        # Vega-Lite puts titles into expressions of its own, where a backslash begins an escape sequence; and Vega
        # shortens long texts at half a character where one is beyond U+FFFF.
        text = printable(value, keep="").replace("\\", "\N{REVERSE SOLIDUS OPERATOR}")
        return re.sub("[\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


def theme_config(theme: Theme) -> VegaLite:
    """Vega-Lite's settings for a theme, the colours of series among them."""
    ink, rule = INK[theme], RULES[theme]
    axis = {"labelColor": ink, "titleColor": ink, "domainColor": rule, "tickColor": rule, "gridColor": rule}
    return {
        "font": FONT,
        "background": "transparent",
        "axis": axis | {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.6},
        "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "labelLimit": 260},
        "title": {"color": ink},
        "text": {"color": ink},
        "rule": {"color": ink},
        "view": {"stroke": None},
        "range": {"category": HUES[theme]},
    }


_NAME = re.compile(r"[A-Za-z0-9._-]+-[0-9a-f]{8}-[A-Za-z0-9._-]+\.svg")


def is_drawing(path: Path) -> bool:
    """Whether a report has drawn a file: by its name, and since it begins as Vega's drawings do."""
    if not _NAME.fullmatch(path.name) or path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        return re.match(rb'<svg [^>]*class="marks"', file.read(500)) is not None
