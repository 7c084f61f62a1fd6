"""Drawings, written as Vega-Lite: the SVG files of README and docs/results.md.

Plain mappings, as https://vega.github.io/vega-lite/docs has them. Altair would write the same, and takes half a second
of each report to import and to copy; the tests hold every drawing to the schema that it carries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from typing import Any

from ..analysis.ablations import Ablation, order_of
from ..analysis.arms import compact
from ..analysis.compared_sections import ComparedArm, ComparedSection, summary_of
from ..store.quantities import QUANTITIES, Quantity
from .svg import COLOURS, FROZEN, HUES, OTHERS, PAPER, THEMES, UNTUNED, Theme, VegaLite, plain, theme_config

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"


def specification(data: Sequence[Mapping[str, Any]] | None, **parts: Any) -> VegaLite:
    """A whole drawing, its texts plain characters.

    Args:
        data: its rows; None where its parts have rows of their own.
    """
    rows = {} if data is None else {"data": {"values": list(data)}}
    whole: VegaLite = plain({"$schema": SCHEMA} | rows | parts)
    return whole


def layer_of(mark: VegaLite, *filters: str, **encoding: VegaLite | list[VegaLite]) -> VegaLite:
    """One layer: a mark at each row that passes the filters, expressions of Vega."""
    layer: VegaLite = {"mark": mark, "encoding": encoding}
    return layer | {"transform": [{"filter": each} for each in filters]} if filters else layer


def numbers(field: str, **rest: Any) -> VegaLite:
    """A channel that shows a field's numbers."""
    return {"field": field, "type": "quantitative"} | rest


def names(field: str, **rest: Any) -> VegaLite:
    """A channel that shows a field's words."""
    return {"field": field, "type": "nominal"} | rest


@dataclass
class ParetoPoint:
    """An arm against a cost."""

    arm: str
    kind: str
    test: float  # accuracy in percent; so low and high, its interval
    seeds: int
    cost: str  # the title of the axis
    value: float
    frontier: bool  # whether no cheaper arm has its accuracy or more
    low: float | None = None
    high: float | None = None
    name: str | None = None  # written beside it

    def data(self) -> VegaLite:
        return {name: value for name, value in asdict(self).items() if value is not None}


def axes(quantities: Sequence[Quantity] = QUANTITIES) -> list[Quantity]:
    """The costs that accuracy can be drawn against."""
    return [entry for entry in quantities if entry.axis is not None]


def points_of(section: ComparedSection, costs: Sequence[Quantity]) -> list[ParetoPoint]:
    """Each arm against each cost.

    Costs that an arm lacks, or that are 0 and have no place on a logarithmic axis, leave it out.
    """
    points = []
    for cost in costs:
        priced = [(row, value) for row in section.arms if (value := row.arm.mean(cost.field)) is not None and value > 0]
        for row, value in priced:
            mean = row.arm.scores.mean()
            beaten = any(
                (other.arm.scores.mean() >= mean and price < value)
                or (other.arm.scores.mean() > mean and price <= value)
                for other, price in priced
            )
            points.append(_point(row, cost.axis_title, value * cost.scale, frontier=not beaten))
    return points


def _point(row: ComparedArm, cost: str, value: float, frontier: bool) -> ParetoPoint:
    frozen = "basis" in row.arm.first.config.adapter  # a setting of that family alone
    return ParetoPoint(
        arm=row.arm.name.replace("rotate_basis=", "").replace("road_variant=", ""),
        kind=UNTUNED if row.arm.untuned else FROZEN if frozen else OTHERS,
        test=_percent(float(row.arm.scores.mean())),
        seeds=row.arm.seeds,
        cost=cost,
        value=value,
        frontier=frontier,
        low=_percent(row.summary.low) if row.summary is not None and row.arm.conclusive else None,
        high=_percent(row.summary.high) if row.summary is not None and row.arm.conclusive else None,
    )


def _percent(share: float) -> float:
    """What is drawn: no digit that another machine's arithmetic could give otherwise."""
    return round(100 * share, 4)


WIDTH, HEIGHT = 680, 380  # of the drawing in README


def pareto(section: ComparedSection, theme: Theme, cost: Quantity | None = None) -> VegaLite:
    """Test accuracy against one cost, with intervals and frontier; names on the frontier where there is room.

    Args:
        cost: one of `axes()`; the first where None.
    """
    cost = cost or axes()[0]
    points = points_of(section, [cost])
    scale = {"type": "log", "domain": _name_some(points), "nice": False}
    axis = {"grid": False, "format": "~s", "labelOverlap": True}
    layers = _pareto_layers(theme, x=numbers("value", scale=scale, title=cost.axis_title, axis=axis))
    return specification([point.data() for point in points], layer=layers, width=WIDTH, height=HEIGHT)


def _name_some(points: list[ParetoPoint]) -> list[float]:
    """Give a name to frontier points, the most accurate first, unless it would run into one that has it already.

    Names stand to the upper left of their points, where no other point can be: it would be cheaper and better.

    Returns:
        the ends of the axis that this was computed for.
    """
    domain = [min(point.value for point in points) / 2, max(point.value for point in points) * 1.5]
    taken: list[tuple[float, float, float]] = []  # right end, width and baseline, in pixels
    for point in sorted((p for p in points if p.frontier), key=lambda p: (-p.test, p.value, p.arm)):
        right = WIDTH * log(point.value / domain[0]) / log(domain[1] / domain[0])
        width, baseline = 6.2 * len(point.arm) + 8, HEIGHT * (1 - point.test / 100)
        if width <= right and all(abs(baseline - y) > 13 or right < x - w or right - width > x for x, w, y in taken):
            point.name = point.arm
            taken.append((right, width, baseline))
    return domain


_TEST = numbers("test", title="test %", scale={"domain": [0, 100]})
_INTERVAL: VegaLite = {"y": numbers("low"), "y2": {"field": "high"}}
_POINT: VegaLite = {"type": "point", "filled": True, "size": 60, "opacity": 1}
_FRONTIER = {"type": "line", "interpolate": "step-after", "strokeDash": [4, 3], "opacity": 0.7, "stroke": "#8b949e"}
_LABEL = {"type": "text", "dx": -5, "dy": -6, "fontSize": 11, "align": "right", "baseline": "bottom"}


def _pareto_layers(theme: Theme, **base: VegaLite | list[VegaLite]) -> list[VegaLite]:
    """Intervals, frontier, points and names, which no line behind them crosses.

    Args:
        base: the channels that all layers share.
    """
    kinds = [FROZEN, OTHERS, UNTUNED]
    hues: VegaLite = {"domain": kinds, "range": [COLOURS[theme][kind] for kind in kinds]}
    colour = names("kind", scale=hues, title=None, legend={"orient": "top", "symbolOpacity": 1})
    halo = _LABEL | {"color": PAPER[theme], "stroke": PAPER[theme], "strokeWidth": 4, "strokeJoin": "round"}
    return [
        layer_of({"type": "rule", "opacity": 0.45}, **base, **_INTERVAL, color=colour),
        layer_of(_FRONTIER, "datum.frontier", **base, y=_TEST),
        layer_of(_POINT, **base, y=_TEST, color=colour, shape=names("kind", legend=None)),
        *(layer_of(label, "isValid(datum.name)", **base, y=_TEST, text=names("name")) for label in (halo, _LABEL)),
    ]


def ablation_chart(swept: Ablation, theme: Theme) -> VegaLite:
    """Test accuracy along an axis, a line a series, with intervals."""
    values = []
    for series in swept.series:
        for value, index in zip(series.values, series.members, strict=True):
            summary = summary_of(swept.arms[index], swept.pairs.noise)
            values.append(
                {"series": series.name, "value": value if swept.numeric else compact(value),
                 "test": _percent(summary.mean), "low": _percent(summary.low), "high": _percent(summary.high),
                 "seeds": summary.seeds}
            )  # fmt: skip
    colour = names("series", title=None, legend={"orient": "top", "columns": 3, "symbolOpacity": 1})
    colour["scale"] = {"range": HUES[theme]}
    base: VegaLite = {
        "x": _swept_axis(swept),
        "color": colour,
    }
    layers = [layer_of({"type": "rule", "opacity": 0.6}, **base, **_INTERVAL)]
    if swept.numeric:
        layers.append(layer_of({"type": "line", "opacity": 0.8}, **base, y=_TEST))
    layers.append(layer_of(_POINT, **base, y=_TEST, shape=names("series", legend=None)))
    return specification(values, layer=layers, width=560, height=240)


def _swept_axis(swept: Ablation) -> VegaLite:
    """The horizontal axis: to scale where the values are numbers, else one place each."""
    distinct = {json.dumps(value): value for series in swept.series for value in series.values}.values()
    ordered = sorted(distinct, key=order_of)
    if swept.numeric:
        axis = {"values": ordered, "grid": False, "format": "~g"}
        return numbers("value", title=swept.axis, scale={"type": "log", "nice": False, "padding": 20}, axis=axis)
    ticks = [compact(value) for value in ordered]
    axis = {"labelAngle": 0, "grid": False}
    return names("value", title=swept.axis, sort=ticks, axis=axis, scale={"padding": 0.5})


def drawings(section: ComparedSection) -> dict[str, VegaLite]:
    """What the SVG files of a section are drawn from, by file name."""
    files: dict[str, VegaLite] = {}
    if section.accuracy is None:
        return files
    for theme in THEMES:
        end, config = "" if theme == "light" else f"-{theme}", {"config": theme_config(theme)}
        if section.has_sizes:
            files[f"{section.slug}-pareto{end}.svg"] = pareto(section, theme) | config
        for swept in section.ablations:
            files[f"{section.slug}-{swept.slug}{end}.svg"] = ablation_chart(swept, theme) | config
    return files
