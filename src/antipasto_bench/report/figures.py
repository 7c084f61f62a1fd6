"""Drawings, as Vega-Lite made by Altair: SVG files for README, and specifications for the page.

Bytes depend on the numbers alone: the font is one that the renderer carries with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import log
from typing import Any

import altair as alt

from ..analysis.ablations import Ablation, order_of
from ..analysis.arms import compact
from ..analysis.compared_sections import Study
from ..analysis.comparisons import Row
from ..spec.config import BASE

FONT = "Liberation Sans"
INK = {"light": "#24292f", "dark": "#d7dde3"}
RULES = {"light": "#d8dee4", "dark": "#3a424c"}
FROZEN, OTHERS, UNTUNED = "frozen basis", "other adapters", "untuned model"
COLOURS = {
    "light": {FROZEN: "#0b62c4", OTHERS: "#bf5410", UNTUNED: "#57606a"},
    "dark": {FROZEN: "#6cb2ff", OTHERS: "#ffa25c", UNTUNED: "#9aa4ae"},
}
HUES = {  # of series side by side; apart for readers who see few colours, too
    "light": ["#0b62c4", "#bf5410", "#0a7c53", "#8a3fbf", "#b3123f", "#6b5b00", "#3d6b78", "#57606a"],
    "dark": ["#6cb2ff", "#ffa25c", "#5fd4a5", "#cfa0f5", "#ff8aa5", "#d9c24e", "#8cc7d6", "#9aa4ae"],
}
THEMES = tuple(INK)

# What accuracy can be drawn against: the columns of costs, as numbers of an arm.
COST_AXES = (
    ("trained parameters", "trained_parameters", 1.0),
    ("adapter file, kB", "adapter_bytes", 1e-3),
    ("added MACs a token", "added_macs_per_token", 1.0),
    ("forward ms", "forward_ms", 1.0),
    ("backward ms", "backward_ms", 1.0),
    ("kept for backward, MB", "saved_bytes", 1e-6),
    ("peak memory, MB", "peak_bytes", 1e-6),
    ("init seconds", "attach_cold_s", 1.0),
    ("training seconds", "train_s", 1.0),
)


def svg(chart: Any, theme: str) -> str:
    """The drawing as an SVG file for a light or a dark page."""
    import vl_convert

    text = vl_convert.vegalite_to_svg(
        chart.to_dict() | {"config": config(theme)}, vl_version=vl_convert.get_vegalite_versions()[-1]
    )
    return f"{text}\n"


def config(theme: str) -> dict[str, Any]:
    """Vega-Lite's settings for a theme; colours that a drawing gives by name are the theme's, too."""
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


def points_of(study: Study, costs: Sequence[tuple[str, str, float]] = COST_AXES) -> list[dict[str, Any]]:
    """Each arm against each cost, and whether it is on the frontier: no cheaper arm has its accuracy or more.

    Costs that an arm lacks, or that are 0 and have no place on a logarithmic axis, leave it out.
    """
    found = []
    for name, column, scale in costs:
        placed = [(row, value) for row in study.rows if (value := row.mean(column)) is not None and value > 0]
        for row, value in placed:
            mean = row.arm.scores.mean()
            beaten = any(
                (other.arm.scores.mean() >= mean and cost < value) or (other.arm.scores.mean() > mean and cost <= value)
                for other, cost in placed
            )
            found.append(_point(row) | {"cost": name, "value": value * scale, "frontier": not beaten})
    return found


def _point(row: Row) -> dict[str, Any]:
    from antipasto import CONFIGS, FrozenBasisConfig

    variant = row.arm.variant
    frozen = variant in CONFIGS and issubclass(CONFIGS[variant], FrozenBasisConfig)
    point = {
        "arm": row.arm.name.replace("rotate_basis=", "").replace("road_variant=", ""),
        "kind": UNTUNED if variant == BASE else FROZEN if frozen else OTHERS,
        "test": 100 * float(row.arm.scores.mean()),
        "seeds": len(row.arm.rows),
    }
    if row.summary is not None:
        point |= {"low": 100 * row.summary.low, "high": 100 * row.summary.high}
    return point


WIDTH, HEIGHT = 680, 380  # of the drawing in README


def pareto(study: Study, theme: str, cost: str = COST_AXES[0][0]) -> Any:
    """Test accuracy against one cost, with intervals and frontier; names on the frontier where there is room."""
    values = points_of(study, [axis for axis in COST_AXES if axis[0] == cost])
    domain = _name_some(values)
    scale = alt.Scale(type="log", domain=domain, nice=False)
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("value:Q", scale=scale, title=cost, axis=alt.Axis(grid=False, format="~s", labelOverlap=True))
    )
    layers = [*_pareto_layers(base, theme), _names(base.transform_filter("isValid(datum.name)"))]
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _name_some(values: list[dict[str, Any]]) -> list[float]:
    """Give a name to frontier points, the most accurate first, unless it would run into one that has it already.

    Names stand to the upper left of their points, where no other point can be: it would be cheaper and better.

    Returns:
        the ends of the axis that this was reckoned on.
    """
    domain = [min(value["value"] for value in values) / 2, max(value["value"] for value in values) * 1.5]
    taken: list[tuple[float, float, float]] = []  # right end, width and baseline, in pixels
    for value in sorted((v for v in values if v["frontier"]), key=lambda v: (-v["test"], v["value"], v["arm"])):
        right = WIDTH * log(value["value"] / domain[0]) / log(domain[1] / domain[0])
        width, baseline = 6.2 * len(value["arm"]) + 8, HEIGHT * (1 - value["test"] / 100)
        if width <= right and all(abs(baseline - y) > 13 or right < x - w or right - width > x for x, w, y in taken):
            value["name"] = value["arm"]
            taken.append((right, width, baseline))
    return domain


def pareto_explorer(study: Study) -> dict[str, Any]:
    """The same with a menu of costs, as a specification for the page."""
    values = points_of(study)
    names = [name for name, *_ in COST_AXES if any(value["cost"] == name for value in values)]
    if not names:
        return {}
    for name in names:
        _name_some([value for value in values if value["cost"] == name])
    menu = alt.param(name="cost", value=names[0], bind=alt.binding_select(options=names, name="Cost "))
    base = (
        alt.Chart(alt.InlineData(values=values))
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
    return alt.layer(*layers).add_params(menu).properties(width="container", height=420).to_dict()


def _names(base: Any) -> Any:
    room = alt.condition("width > 500", alt.value(1), alt.value(0))
    return base.mark_text(dx=-5, dy=-6, fontSize=11, align="right", baseline="bottom").encode(
        y=_TEST, text="name:N", opacity=room
    )


_TEST = alt.Y("test:Q", title="test %", scale=alt.Scale(domain=[0, 100]))


def _pareto_layers(base: Any, theme: str | None) -> list[Any]:
    kinds = [FROZEN, OTHERS, UNTUNED]
    hues = alt.Scale(domain=kinds, range=[COLOURS[theme][kind] for kind in kinds]) if theme else alt.Scale(domain=kinds)
    colour = alt.Color("kind:N", scale=hues, title=None, legend=alt.Legend(orient="top", symbolOpacity=1))
    shape = alt.Shape("kind:N", legend=None)
    frontier = base.transform_filter("datum.frontier")
    return [
        base.mark_rule(opacity=0.45).encode(y=alt.Y("low:Q"), y2="high:Q", color=colour),
        frontier.mark_line(interpolate="step-after", strokeDash=[4, 3], opacity=0.7, stroke="#8b949e").encode(y=_TEST),
        base.mark_point(filled=True, size=60, opacity=1).encode(y=_TEST, color=colour, shape=shape),
    ]


def ablation(found: Ablation, theme: str | None) -> Any:
    """Test accuracy along an axis, a line a series, with intervals."""
    from ..analysis.comparisons import summary_of

    values = []
    for series in found.series:
        for value, index in zip(series.values, series.members, strict=True):
            summary = summary_of(found.arms[index], found.found)
            values.append(
                {"series": series.name, "value": value if found.numeric else compact(value), "test": 100 * summary.mean,
                 "low": 100 * summary.low, "high": 100 * summary.high, "seeds": summary.seeds}
            )  # fmt: skip
    kept = {json.dumps(value): value for series in found.series for value in series.values}.values()
    drawn: Any = [value if found.numeric else compact(value) for value in sorted(kept, key=order_of)]
    if found.numeric:
        axis = alt.Axis(values=drawn, grid=False, format="~g")
        x = alt.X("value:Q", title=found.axis, scale=alt.Scale(type="log", nice=False, padding=20), axis=axis)
    else:
        axis = alt.Axis(labelAngle=0, grid=False)
        x = alt.X("value:N", title=found.axis, sort=drawn, axis=axis, scale=alt.Scale(padding=0.5))
    hues = alt.Scale(range=HUES[theme]) if theme else alt.Undefined
    colour = alt.Color("series:N", title=None, scale=hues, legend=alt.Legend(orient="top", columns=3, symbolOpacity=1))
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=x,
        color=colour,
        tooltip=["series:N", alt.Tooltip("value:N", title=found.axis), alt.Tooltip("test:Q", format=".1f"),
                 alt.Tooltip("low:Q", format=".1f"), alt.Tooltip("high:Q", format=".1f"), "seeds:Q"],
    )  # fmt: skip
    layers = [base.mark_rule(opacity=0.6).encode(y=alt.Y("low:Q"), y2="high:Q")]
    if found.numeric:
        layers.append(base.mark_line(opacity=0.8).encode(y=_TEST))
    layers.append(
        base.mark_point(filled=True, size=60, opacity=1).encode(y=_TEST, shape=alt.Shape("series:N", legend=None))
    )
    return alt.layer(*layers).properties(width=560 if theme else "container", height=240)


def learning_curves(curves: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Training loss of each arm, the mean over its seeds, as a specification for the page; a menu names one."""
    values = [{"arm": arm} | point for arm, points in curves.items() for point in points]
    if not values:
        return {}
    names = list(curves)
    menu = alt.param(name="shown", value=names[0], bind=alt.binding_select(options=names, name="Highlight "))
    chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_line(interpolate="linear")
        .encode(
            x=alt.X("step:Q", title="step", axis=alt.Axis(grid=False)),
            y=alt.Y("loss:Q", title="training loss, nats a token", scale=alt.Scale(type="log")),
            detail="arm:N",
            color=alt.condition("datum.arm == shown", alt.value("#d1242f"), alt.value("#8b949e")),
            opacity=alt.condition("datum.arm == shown", alt.value(1.0), alt.value(0.3)),
            strokeWidth=alt.condition("datum.arm == shown", alt.value(2.5), alt.value(1.0)),
            tooltip=["arm:N", "step:Q", alt.Tooltip("loss:Q", format=".3f")],
        )
        .add_params(menu)
        .properties(width="container", height=320)
    )
    return chart.to_dict()


def drawings(study: Study) -> dict[str, str]:
    """The SVG files of a study, by file name."""
    found: dict[str, str] = {}
    if study.found is None:
        return found
    for theme in THEMES:
        end = "" if theme == "light" else f"-{theme}"
        if study.priced:
            found[f"{study.slug}-pareto{end}.svg"] = svg(pareto(study, theme), theme)
        for each in study.ablations:
            found[f"{study.slug}-{each.axis}{end}.svg"] = svg(ablation(each, theme), theme)
    return found
