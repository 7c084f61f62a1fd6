"""How settings were searched: the budgets of all arms, what each search found, and its drawing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..analysis.searched import Found, SearchedArm, SearchedSection, found, losses
from ..spec.search import rate_at
from ..spec.tried import of_steps, said_budget
from .figures import layer_of, names, numbers, specification
from .markdown import markdown_table, picture
from .markup import escaped
from .rendering import svg
from .svg import HUES, THEMES, Theme, VegaLite, theme_config

HEADING = "### How settings were searched"
WHAT = (
    "The learning rate of each arm was searched by short runs (trials), judged by the held-out loss of the validation "
    "questions alone, on seeds that no result has. The shorter a run, the lower its best rate: so the last trials have "
    "the whole steps of a run. What was chosen, in bold, is the best rate of the most steps. Only trials of the same "
    "steps are compared: next is how far the loss of the second best of their rates is above the best, and beyond a "
    "best rate at their edge a better one may be. Stopped trials were behind at a quarter or half of their steps."
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
    header = ("arm", "steps", "trials", "stopped", "diverged", "best lr", "valid loss", "next", "where")
    lines = [tuple(_cells(row)) for row in rows]
    return "\n".join([*parts, markdown_table(header, lines, left=("arm", "where"))])


def budgets_line(section: SearchedSection) -> str:
    """Whether all arms had as many trials of the same steps, and how many."""
    budgets = {name: said_budget(counts) for name, counts in section.budgets().items()}
    if len(set(budgets.values())) == 1:
        arms = f"each of {len(budgets)} arms" if len(budgets) > 1 else "one arm"
        return f"Equal budgets, for {arms}: {next(iter(budgets.values()))}."
    listed = "; ".join(f"{name} {said}" for name, said in budgets.items())
    return f"Budgets differ, so the arm with more trials has the better chance of a good rate: {listed}."


def _cells(row: Found) -> list[str]:
    lr, loss = ("" if row.lr is None else f"{row.lr:g}"), ("" if row.loss is None else f"{row.loss:.{DIGITS}f}")
    lead = "" if row.lead is None else f"+{row.lead:.{DIGITS}f}"
    lr = f"**{lr}**" if row.chosen and lr else lr
    return [escaped(row.name), *map(str, (row.steps, row.trials, row.stopped, row.diverged)), lr, loss, lead, row.where]


# ------------------------------------------------------------------ drawings


def search_drawings(section: SearchedSection) -> dict[str, VegaLite]:
    """What the SVG files of a section are drawn from, by file name; none where no trial reached its end."""
    if not any(row.lr for arm in section.arms for row in found(arm)):
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
    """For each length of trials, losses by learning rate, a line an arm; and of each arm with an axis a heat map."""
    lines = [arm for arm in arms if arm.axis is None]
    charts = [_lines(lines, steps, theme) for steps in sorted({steps for arm in lines for steps in arm.lengths()})]
    charts += [_heat_map(arm, steps) for arm in arms if arm.axis is not None for steps in arm.lengths()]
    return specification(None, vconcat=charts, config=theme_config(theme))


def _lines(arms: Sequence[SearchedArm], steps: int, theme: Theme) -> VegaLite:
    values = [
        {"arm": arm.name, "lr": lr, "loss": round(loss, DIGITS), "best": loss == min(own.values())}
        for arm in arms
        if (own := losses(arm, 0, steps))
        for lr, loss in own.items()
    ]
    every = [lr for arm in arms for length in arm.lengths() for lr in losses(arm, 0, length)]
    encoding = {
        "x": numbers(
            "lr",
            title="learning rate",
            scale={"type": "log", "nice": False, "padding": 20, "domain": [min(every), max(every)]},
            axis={"grid": False, "format": "~g"},
        ),
        "y": numbers("loss", title=f"loss after {steps} steps", scale={"type": "log", "nice": False, "padding": 10}),
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


def _heat_map(arm: SearchedArm, steps: int) -> VegaLite:
    """Loss after so many steps by learning rate and value.

    The best rate of each value is framed, which shows the ridge of the optimum.
    """
    cells = [cell for index in range(len(arm.values)) for cell in _cells_of(arm, index, steps)]
    known = [cell["loss"] for cell in cells if "loss" in cell]
    middle = (min(known) * max(known)) ** 0.5 if known else 0.0  # of the colours, which are logarithmic
    cells = [cell | {"dark": cell.get("loss", 0.0) > middle} for cell in cells]
    rates = sorted({cell["lr"] for cell in cells})
    ordinal = {"type": "ordinal"}
    encoding = {
        "x": names("lr", title="learning rate", sort=rates, axis={"labelAngle": 0, "format": "~g"}) | ordinal,
        "y": names("value", title=f"{arm.name}: {arm.axis}, {steps} steps", sort=list(map(str, arm.values))) | ordinal,
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


def _cells_of(arm: SearchedArm, index: int, steps: int) -> list[VegaLite]:
    """A cell for each rate of a value: its loss, or how its trial ended where none reached its end."""
    own = losses(arm, index, steps)
    least = min(own.values(), default=None)
    ended = {rate_at(t.point.place): t.state for t in of_steps(arm.tried, steps) if t.point.value == index}
    return [
        {"value": str(arm.values[index]), "lr": lr, "best": lr in own and own[lr] == least}
        | ({"loss": round(own[lr], DIGITS)} if lr in own else {"state": state})
        for lr, state in sorted(ended.items())
    ]
