"""How settings were searched: the budgets of all arms, what each search found, and its drawing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..analysis.searched import Found, SearchedArm, SearchedSection, found, losses
from ..spec.search import rate_at
from .figures import layer_of, names, numbers, specification
from .markdown import markdown_table, picture
from .markup import escaped
from .rendering import svg
from .svg import HUES, THEMES, Theme, VegaLite, theme_config

HEADING = "### How settings were searched"
WHAT = (
    "The learning rate of each arm was searched by short runs (trials), judged by the held-out loss of the validation "
    "questions alone, on seeds that no result has. next is how far the loss of the second best rate is above the best. "
    "Stopped trials were behind at a quarter or half of their steps. Beyond a best rate at an edge a better one may be."
)
DIGITS = 4  # of a loss in nats a token: no more than another machine's arithmetic would give, too
WIDTH, HEIGHT, CELL = 560, 240, 34


def searches_markdown(sections: Sequence[SearchedSection], figures: str | None) -> str:
    """The section of the page; empty where nothing was searched.

    Args:
        figures: the folder of the drawings as the page names it; no drawing is shown where None.
    """
    if not sections:
        return ""
    return "\n\n".join([HEADING, WHAT, *(_section(section, figures) for section in sections)])


def _section(section: SearchedSection, figures: str | None) -> str:
    parts = [f"#### {escaped(section.title)}", "", escaped(budgets_line(section)), ""]
    if figures:
        parts += [picture(figures, f"{section.slug}-search", "Held-out loss by learning rate"), ""]
    rows = [row for arm in section.arms for row in found(arm)]
    header = ("arm", "trials", "stopped", "diverged", "best lr", "valid loss", "next", "where")
    lines = [tuple(map(escaped, _cells(row))) for row in rows]
    return "\n".join([*parts, markdown_table(header, lines, left=("arm", "where"))])


def budgets_line(section: SearchedSection) -> str:
    """Whether all arms had as many trials, and how many."""
    budgets = section.budgets()
    if len(set(budgets.values())) == 1:
        count = next(iter(budgets.values()))
        arms = f"each of {len(budgets)} arms" if len(budgets) > 1 else "one arm"
        return f"Equal budgets: {count} trials of {arms}."
    listed = ", ".join(f"{name} {count}" for name, count in budgets.items())
    return f"Budgets differ, so the arm with more trials has the better chance of a good rate: {listed} trials."


def _cells(row: Found) -> list[str]:
    lr, loss = ("" if row.lr is None else f"{row.lr:g}"), ("" if row.loss is None else f"{row.loss:.{DIGITS}f}")
    lead = "" if row.lead is None else f"+{row.lead:.{DIGITS}f}"
    return [row.name, *map(str, (row.trials, row.stopped, row.diverged)), lr, loss, lead, row.where]


# ------------------------------------------------------------------ drawings


def search_drawings(section: SearchedSection) -> dict[str, VegaLite]:
    """What the SVG files of a section are drawn from, by file name; none where no trial reached its end."""
    if not any(losses(arm, value) for arm in section.arms for value in range(len(arm.values))):
        return {}
    ends: dict[Theme, str] = {theme: "" if theme == "light" else f"-{theme}" for theme in THEMES}
    return {f"{section.slug}-search{ends[theme]}.svg": _drawing(section.arms, theme) for theme in THEMES}


def drawing_of_search(arms: Sequence[SearchedArm], path: Path) -> str:
    """The drawing of some arms as SVG.

    Args:
        path: where an earlier one may lie.
    """
    return svg(_drawing(arms, "light") | {"background": "white"}, path)


def _drawing(arms: Sequence[SearchedArm], theme: Theme) -> VegaLite:
    """Losses by learning rate, a line an arm; and of each arm with an axis a heat map."""
    lines = [arm for arm in arms if arm.axis is None]
    charts = [*([_lines(lines, theme)] if lines else []), *(_heat_map(arm) for arm in arms if arm.axis is not None)]
    return specification(None, vconcat=charts, config=theme_config(theme))


def _lines(arms: Sequence[SearchedArm], theme: Theme) -> VegaLite:
    values = [
        {"arm": arm.name, "lr": lr, "loss": round(loss, DIGITS), "best": loss == min(losses(arm, 0).values())}
        for arm in arms
        for lr, loss in losses(arm, 0).items()
    ]
    encoding = {
        "x": numbers(
            "lr",
            title="learning rate",
            scale={"type": "log", "nice": False, "padding": 20},
            axis={"grid": False, "format": "~g"},
        ),
        "y": numbers("loss", title="held-out loss, nats a token", scale={"type": "log", "nice": False, "padding": 10}),
        "color": names(
            "arm",
            title=None,
            sort=[arm.name for arm in arms],
            scale={"range": HUES[theme]},
            legend={"orient": "top", "columns": 3, "symbolOpacity": 1},
        ),
    }
    layers = [
        layer_of({"type": "line", "opacity": 0.8}),
        layer_of({"type": "point", "filled": True, "size": 40, "opacity": 1}),
        layer_of({"type": "point", "filled": False, "size": 160, "opacity": 1}, "datum.best"),
    ]
    return {"data": {"values": values}, "width": WIDTH, "height": HEIGHT, "encoding": encoding, "layer": layers}


def _heat_map(arm: SearchedArm) -> VegaLite:
    """Loss by learning rate and value; the best rate of each value is framed, which shows the ridge of the optimum."""
    cells = [cell for index in range(len(arm.values)) for cell in _cells_of(arm, index)]
    known = [cell["loss"] for cell in cells if "loss" in cell]
    middle = (min(known) * max(known)) ** 0.5 if known else 0.0  # of the colours, which are logarithmic
    cells = [cell | {"dark": cell.get("loss", 0.0) > middle} for cell in cells]
    rates = sorted({cell["lr"] for cell in cells})
    ordinal = {"type": "ordinal"}
    encoding = {
        "x": names("lr", title="learning rate", sort=rates, axis={"labelAngle": 0, "format": "~g"}) | ordinal,
        "y": names("value", title=f"{arm.name}: {arm.axis}", sort=[str(value) for value in arm.values]) | ordinal,
    }
    done, ended = "isValid(datum.loss)", "!isValid(datum.loss)"
    hue = numbers("loss", title="loss", scale={"type": "log", "scheme": "viridis", "reverse": True})
    ink = {"condition": {"test": "datum.dark", "value": "white"}, "value": "black"}
    layers = [
        layer_of({"type": "rect"}, done, color=hue),
        layer_of({"type": "rect", "fill": None, "stroke": "#d1242f", "strokeWidth": 3}, "datum.best"),
        layer_of({"type": "text", "fontSize": 11}, done, text=numbers("loss", format=".3f"), color=ink),
        layer_of({"type": "text", "fontSize": 10, "color": "#8b949e"}, ended, text=names("state")),
    ]
    return {
        "data": {"values": cells},
        "width": CELL * 2 * len(rates),
        "height": CELL * len(arm.values),
        "encoding": encoding,
        "layer": layers,
        "resolve": {"scale": {"color": "independent"}},
    }


def _cells_of(arm: SearchedArm, index: int) -> list[VegaLite]:
    """A cell for each rate of a value: its loss, or how its trial ended where none reached its end."""
    own = losses(arm, index)
    least = min(own.values(), default=None)
    ended = {rate_at(t.point.place): t.state for t in arm.tried if t.point.value == index}
    return [
        {"value": str(arm.values[index]), "lr": lr, "best": lr in own and own[lr] == least}
        | ({"loss": round(own[lr], DIGITS)} if lr in own else {"state": state})
        for lr, state in sorted(ended.items())
    ]
