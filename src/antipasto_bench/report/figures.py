"""Drawings, as Vega-Lite made by Altair: SVG files for README, and specifications for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from ..analysis.ablations import Ablation, order_of
from ..analysis.arms import compact
from ..analysis.compared_sections import ComparedArm, ComparedSection, summary_of
from ..store.quantities import QUANTITIES, Quantity
from .svg import COLOURS, FROZEN, HUES, OTHERS, THEMES, UNTUNED, Drawing, Theme, VegaLite, plain, theme_config

# A drawing is given its data and its size with its layers: Altair copies all that a drawing holds at each later step.
# Channels below are Altair's own classes: of a string or a mapping it would search the schema, a third of a second a
# report. Its checks of each part against Vega-Lite's schema take a second more; the tests make them.
without_schema_checks = debug_mode(False)


def _specification(chart: Drawing | alt.Chart) -> VegaLite:
    """A chart as Vega-Lite, its texts plain characters."""
    specification: VegaLite = plain(chart.to_dict(validate=False))
    return specification


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


def pareto(section: ComparedSection, theme: Theme, cost: Quantity | None = None) -> Drawing:
    """Test accuracy against one cost, with intervals and frontier; names on the frontier where there is room.

    Args:
        cost: one of `axes()`; the first where None.
    """
    cost = cost or axes()[0]
    points = points_of(section, [cost])
    domain = _name_some(points)
    scale = alt.Scale(type="log", domain=domain, nice=False)
    base = alt.Chart().encode(
        x=alt.X(
            "value:Q", scale=scale, title=cost.axis_title, axis=alt.Axis(grid=False, format="~s", labelOverlap=True)
        )
    )
    layers = [*_pareto_layers(base, theme), _names(base.transform_filter("isValid(datum.name)"))]
    return alt.layer(*layers, data=_inline(points), width=WIDTH, height=HEIGHT)


def _inline(points: Sequence[ParetoPoint]) -> alt.InlineData:
    return alt.InlineData(values=[point.data() for point in points])


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


@without_schema_checks
def pareto_explorer(section: ComparedSection) -> VegaLite:
    """The same with a menu of costs, as a specification for the page; empty where no arm has a cost."""
    points = points_of(section, axes())
    names = list(dict.fromkeys(point.cost for point in points))
    if not names:
        return {}
    for name in names:
        _name_some([point for point in points if point.cost == name])
    menu = alt.param(name="cost", value=names[0], bind=alt.binding_select(options=names, name="Cost "))
    base = (
        alt.Chart()
        .transform_filter("datum.cost == cost")
        .encode(
            x=alt.X("value:Q", scale=alt.Scale(type="log"), title="cost", axis=alt.Axis(grid=False, format="~s")),
            tooltip=[
                alt.Tooltip("arm:N"),
                alt.Tooltip("value:Q", title="cost", format=",.4~g"),
                alt.Tooltip("test:Q", title="test %", format=".1f"),
                alt.Tooltip("low:Q", title="from", format=".1f"),
                alt.Tooltip("high:Q", title="to", format=".1f"),
                alt.Tooltip("seeds:Q"),
            ],
        )
    )
    layers = [*_pareto_layers(base, None), _names(base.transform_filter("isValid(datum.name)"))]
    return _specification(alt.layer(*layers, data=_inline(points), params=[menu.param], width="container", height=420))


def _names(base: alt.Chart) -> alt.Chart:
    room = alt.OpacityValue(0, condition=_where("width > 500", 1))
    texts: alt.Chart = base.mark_text(dx=-5, dy=-6, fontSize=11, align="right", baseline="bottom").encode(
        y=_TEST, text=alt.Text("name:N"), opacity=room
    )
    return texts


def _where(test: str, value: float | str) -> Any:
    """The condition of a channel: the value that it has where an expression of Vega is true."""
    return {"test": test, "value": value}


_TEST = alt.Y("test:Q", title="test %", scale=alt.Scale(domain=[0, 100]))


def _pareto_layers(base: alt.Chart, theme: Theme | None) -> list[alt.Chart]:
    kinds = [FROZEN, OTHERS, UNTUNED]
    hues = alt.Scale(domain=kinds, range=[COLOURS[theme][kind] for kind in kinds]) if theme else alt.Scale(domain=kinds)
    colour = alt.Color("kind:N", scale=hues, title=None, legend=alt.Legend(orient="top", symbolOpacity=1))
    shape = alt.Shape("kind:N", legend=None)
    frontier = base.transform_filter("datum.frontier")
    return [
        base.mark_rule(opacity=0.45).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), color=colour),
        frontier.mark_line(interpolate="step-after", strokeDash=[4, 3], opacity=0.7, stroke="#8b949e").encode(y=_TEST),
        base.mark_point(filled=True, size=60, opacity=1).encode(y=_TEST, color=colour, shape=shape),
    ]


@without_schema_checks
def ablation_explorer(swept: Ablation) -> VegaLite:
    """`ablation_chart` as a specification for the page."""
    return _specification(ablation_chart(swept, None))


def ablation_chart(swept: Ablation, theme: Theme | None) -> Drawing:
    """Test accuracy along an axis, a line a series, with intervals.

    Args:
        theme: None for the page, which gives the colours itself.
    """
    values = []
    for series in swept.series:
        for value, index in zip(series.values, series.members, strict=True):
            summary = summary_of(swept.arms[index], swept.pairs.noise)
            values.append(
                {"series": series.name, "value": value if swept.numeric else compact(value),
                 "test": _percent(summary.mean), "low": _percent(summary.low), "high": _percent(summary.high),
                 "seeds": summary.seeds}
            )  # fmt: skip
    distinct = {json.dumps(value): value for series in swept.series for value in series.values}.values()
    ticks: Any = [value if swept.numeric else compact(value) for value in sorted(distinct, key=order_of)]
    if swept.numeric:
        axis = alt.Axis(values=ticks, grid=False, format="~g")
        x = alt.X("value:Q", title=swept.axis, scale=alt.Scale(type="log", nice=False, padding=20), axis=axis)
    else:
        axis = alt.Axis(labelAngle=0, grid=False)
        x = alt.X("value:N", title=swept.axis, sort=ticks, axis=axis, scale=alt.Scale(padding=0.5))
    hues = alt.Scale(range=HUES[theme]) if theme else alt.Undefined
    colour = alt.Color("series:N", title=None, scale=hues, legend=alt.Legend(orient="top", columns=3, symbolOpacity=1))
    base = alt.Chart().encode(
        x=x,
        color=colour,
        tooltip=[alt.Tooltip("series:N"), alt.Tooltip("value:N", title=swept.axis), alt.Tooltip("test:Q", format=".1f"),
                 alt.Tooltip("low:Q", format=".1f"), alt.Tooltip("high:Q", format=".1f"), alt.Tooltip("seeds:Q")],
    )  # fmt: skip
    layers = [base.mark_rule(opacity=0.6).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))]
    if swept.numeric:
        layers.append(base.mark_line(opacity=0.8).encode(y=_TEST))
    layers.append(
        base.mark_point(filled=True, size=60, opacity=1).encode(y=_TEST, shape=alt.Shape("series:N", legend=None))
    )
    return alt.layer(*layers, data=alt.InlineData(values=values), width=560 if theme else "container", height=240)


@without_schema_checks
def learning_curves(curves: Mapping[str, Mapping[int, float]], title: str) -> VegaLite:
    """A loss of each arm as a specification for the page, with a menu that names one; empty where none has any.

    Args:
        curves: of each arm, by its name: the mean loss over its seeds, by step.
        title: of the loss, with its unit.
    """
    values = [
        {"arm": arm, "step": step, "loss": loss} for arm, losses in curves.items() for step, loss in losses.items()
    ]
    if not values:
        return {}
    names = list(curves)
    menu = alt.param(name="shown", value=names[0], bind=alt.binding_select(options=names, name="Highlight "))
    chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_line(interpolate="linear")
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(grid=False)),
            y=alt.Y("loss:Q", title=title, scale=alt.Scale(type="log")),
            detail=alt.Detail("arm:N"),
            color=alt.ColorValue("#8b949e", condition=_where("datum.arm == shown", "#d1242f")),
            opacity=alt.OpacityValue(0.3, condition=_where("datum.arm == shown", 1.0)),
            strokeWidth=alt.StrokeWidthValue(1.0, condition=_where("datum.arm == shown", 2.5)),
            tooltip=[alt.Tooltip("arm:N"), alt.Tooltip("step:Q"), alt.Tooltip("loss:Q", format=".3f")],
        )
        .add_params(menu)
        .properties(width="container", height=320)
    )
    return _specification(chart)


@without_schema_checks
def drawings(section: ComparedSection) -> dict[str, VegaLite]:
    """What the SVG files of a section are drawn from, by file name."""
    files: dict[str, VegaLite] = {}
    if section.accuracy is None:
        return files
    for theme in THEMES:
        end, config = "" if theme == "light" else f"-{theme}", {"config": theme_config(theme)}
        if section.has_sizes:
            files[f"{section.slug}-pareto{end}.svg"] = _specification(pareto(section, theme)) | config
        for swept in section.ablations:
            files[f"{section.slug}-{swept.slug}{end}.svg"] = _specification(ablation_chart(swept, theme)) | config
    return files
