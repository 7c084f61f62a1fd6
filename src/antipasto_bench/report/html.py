"""results/report.html: everything in one file that needs no network, for people with a browser.

Nothing that a model wrote is taken for markup: the template escapes every value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from html import unescape
from itertools import zip_longest
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..analysis.choosing_notes import rows_of_diverged
from ..analysis.compared_sections import ComparedSection, FailedRun
from ..analysis.verdicts import LEVEL
from ..core.text import printable
from ..store.curves import Point
from ..store.excerpts import Answer, CurvePoint, Excerpts, read_excerpts
from ..store.folders import Store
from ..store.quantities import QUANTITIES, Quantity
from ..store.record import RunRecord
from .by_kind import KindTable, kind_table
from .columns import COLUMNS, Cell, Column, diverged_cell
from .figures import ablation_explorer, learning_curves, pareto_explorer
from .markdown import TRIED, conclusions, costs_note, published, trained_on
from .rendering import vega_script
from .svg import THEMES, VegaLite, plain, theme_config

HTML = "report.html"  # in the folder of the results
TEMPLATES = Path(__file__).parent / "templates"
YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's, ten times as fast, where yaml has it
CURVE_WIDTH, CURVE_HEIGHT = 320, 90  # of the small drawing on a run's page


@dataclass(frozen=True)
class TableRow:
    cells: list[Cell]
    records: list[RunRecord]  # of runs that have a page


@dataclass(frozen=True)
class SweptAxis:
    axis: str
    conclusion: str
    chart: str  # the id of its place; so below


@dataclass(frozen=True)
class MatrixRow:
    name: str
    cells: list[Cell]


@dataclass(frozen=True)
class PagePart:
    """What the template shows of one section; empty where there is nothing to show."""

    slug: str
    title: str
    columns: list[Column]
    rows: list[TableRow]
    notes: list[str]
    costs_note: str
    trained_on: str
    pareto: str
    curves: str
    valid_curves: str
    ablations: list[SweptAxis]
    matrix: list[MatrixRow]
    by_kind: KindTable | None
    tried: list[str]


@dataclass(frozen=True)
class Polyline:
    """A small drawing of a loss by step."""

    points: str  # of an SVG, the highest loss at the top
    low: str
    high: str
    width: int = CURVE_WIDTH
    height: int = CURVE_HEIGHT


@dataclass(frozen=True)
class RunPage:
    """What the template shows of one run."""

    id: str
    cells: list[Cell]  # in the list of every run
    numbers: list[tuple[str, str]]
    config: str
    trained_on: str
    curve: Polyline | None
    valid_curve: Polyline | None
    answers: list[Answer]


def page(
    sections: Sequence[ComparedSection], failed: Sequence[FailedRun], store: Store, references: Sequence[Path] = ()
) -> str:
    """The page as HTML.

    Raises:
        UserError: a reference file cannot be read.
    """
    # By id, since an untuned run is in several sections.
    runs = {record.run_id: record for section in sections for record in section.section.records}
    excerpts = {run_id: read_excerpts(record, store) for run_id, record in runs.items()}
    listed = listed_quantities(runs.values())
    charts: dict[str, VegaLite] = {}
    parts = [_part(section, excerpts, charts) for section in sections]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            parts=parts,
            run_headers=[entry.run_list.header for entry in listed if entry.run_list is not None],
            runs=[_run_page(runs[run_id], excerpts[run_id], listed) for run_id in sorted(runs)],
            failed=failed,
            references=[published(path) for path in references],
            tried=TRIED,
            charts=charts,
            themes={theme: theme_config(theme) for theme in THEMES},
            style=_asset("report.css"),
            script=_asset("report.js"),
            vega=Markup(vega_script(store.results / HTML)) if charts else "",
        )
    )


@cache  # it holds the compiled template
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_plain_text,
    )  # fmt: skip


def _plain_text(value: object) -> object:
    """Text without control characters; what is ours and holds markup stays as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # ours, not a model's


def _part(section: ComparedSection, excerpts: dict[str, Excerpts], charts: dict[str, VegaLite]) -> PagePart:
    """What the template shows of one section; drawings are added to `charts` under the ids of their places."""

    def place(name: str, specification: VegaLite) -> str:
        if not specification:
            return ""
        chart_id = f"chart-{section.slug}-{name}"
        charts[chart_id] = plain(specification)
        return chart_id

    cells = [[column.cell(row) for column in COLUMNS] for row in section.arms]
    cells += [[diverged_cell(column, arm) for column in COLUMNS] for arm in rows_of_diverged(section.section)]
    filled = [i for i in range(len(COLUMNS)) if any(line[i].text for line in cells)]
    arms = section.section.arms
    curves = {
        arm.name: curve
        for arm in arms
        if (curve := _mean_curve(_losses(excerpts[record.run_id].curve) for record in arm.records))
    }
    held_out = {
        arm.name: curve for arm in arms if (curve := _mean_curve(record.valid_curve or [] for record in arm.records))
    }
    return PagePart(
        slug=section.slug,
        title=section.title,
        columns=[COLUMNS[i] for i in filled],
        rows=[
            TableRow([line[i] for i in filled], [] if arm is None else arm.records)
            for line, arm in zip_longest(cells, arms)
        ],
        notes=[unescape(note) for note in conclusions(section) if note],
        costs_note=costs_note(section),
        trained_on=f"{trained_on(section.section.records)}; protocol {section.section.protocol}, {section.scored_by}.",
        pareto=place("pareto", pareto_explorer(section) if section.accuracy is not None else {}),
        curves=place("curves", learning_curves(curves, "training loss, nats a token")),
        valid_curves=place("valid-curves", learning_curves(held_out, "held-out loss, nats a token")),
        ablations=[
            SweptAxis(swept.axis, swept.conclusion(), place(swept.slug, ablation_explorer(swept)))
            for swept in section.ablations
        ],
        matrix=_matrix(section),
        by_kind=kind_table(arms),
        tried=[rates.text for rates in section.section.tried],
    )


def _matrix(section: ComparedSection) -> list[MatrixRow]:
    """Corrected p of every pair that may be concluded on: a line an arm, in the order of the table."""
    if section.accuracy is None or not section.accuracy.conclusive:
        return []
    arms, lines = section.section.arms, []
    for i, arm in enumerate(arms):
        cells = []
        for j, other in enumerate(arms):
            p = section.accuracy.p.get((min(i, j), max(i, j)))
            if p is None:
                cells.append(Cell(""))
            else:
                shown = p_text(p).removeprefix("p ").replace("< 0.001", "0") if p < LEVEL else "-"
                cells.append(Cell(shown, f"{arm.name} and {other.name}: {p_text(p)}", p < LEVEL))
        lines.append(MatrixRow(arm.name, cells))
    return lines


def p_text(p: float) -> str:
    """A corrected p; one above the level is no evidence of anything, so no number stands for it."""
    return "p < 0.001" if p < 0.001 else f"p {p:.2g}" if p < LEVEL else "not separated"


def _losses(curve: Sequence[CurvePoint]) -> list[Point]:
    return [(point.step, point.loss) for point in curve]


def _mean_curve(curves: Iterable[Sequence[Point]]) -> dict[int, float]:
    """The mean loss over seeds at the steps that all of them have."""
    losses = [dict(curve) for curve in curves if curve]
    if not losses:
        return {}
    steps = sorted(set.intersection(*map(set, losses)))
    return {step: round(sum(loss[step] for loss in losses) / len(losses), 4) for step in steps}


def listed_quantities(records: Iterable[RunRecord], quantities: Sequence[Quantity] = QUANTITIES) -> list[Quantity]:
    """The columns of the list of every run: those that some run has a value for."""
    records = list(records)
    return [
        entry
        for entry in quantities
        if entry.run_list is not None and any(getattr(record, entry.field) is not None for record in records)
    ]


def _run_page(record: RunRecord, excerpts: Excerpts, listed: Sequence[Quantity]) -> RunPage:
    return RunPage(
        id=record.run_id,
        cells=run_cells(record, listed),
        numbers=run_card(record),
        config="".join(_yaml(json.dumps({key: value})) for key, value in record.config_as_shown().items()),
        trained_on=trained_on([record]),
        curve=_polyline(_losses(excerpts.curve)),
        valid_curve=_polyline(record.valid_curve or []),
        answers=excerpts.answers,
    )


@lru_cache(maxsize=4096)  # the runs of a table differ in a few settings
def _yaml(setting: str) -> str:
    """A setting as YAML.

    Args:
        setting: as JSON, an object of one key.
    """
    text: str = yaml.dump(json.loads(setting), Dumper=YAML_DUMPER, sort_keys=False)
    return text


def run_card(record: RunRecord, quantities: Sequence[Quantity] = QUANTITIES) -> list[tuple[str, str]]:
    """What the page says of a single run: labels and numbers."""
    return [
        (entry.run_card.label or entry.label, entry.text(value, entry.run_card))
        for entry in quantities
        if entry.run_card is not None and (value := getattr(record, entry.field)) is not None
    ]


def run_cells(record: RunRecord, quantities: Sequence[Quantity] = QUANTITIES) -> list[Cell]:
    """A run's line in the list of every run."""
    cells = []
    for entry in quantities:
        if entry.run_list is not None:
            value = getattr(record, entry.field)
            cells.append(Cell("") if value is None else Cell(entry.text(value, entry.run_list), value))
    return cells


def _polyline(curve: Sequence[Point]) -> Polyline | None:
    """The loss by step; None where there are fewer than two points."""
    if len(curve) < 2:
        return None
    losses = [loss for _, loss in curve]
    low, high = min(losses), max(losses)
    span, last = (high - low) or 1.0, curve[-1][0]
    points = " ".join(
        f"{CURVE_WIDTH * step / last:.1f},{CURVE_HEIGHT * (high - loss) / span:.1f}" for step, loss in curve
    )
    return Polyline(points, low=f"{low:.3g}", high=f"{high:.3g}")
