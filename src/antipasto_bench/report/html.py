"""results/report.html: everything in one file that needs no network, for people with a browser.

The answer of each table stands in the markup, for readers without scripts too. All else is data (page_data.py), of
which scripts make tables and drawings. Nothing that a model wrote is taken for markup: the template escapes every
value, and scripts put it into the page as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import NamedTuple

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from ..analysis.choosing_notes import rows_of_diverged
from ..analysis.compared_sections import ComparedArm, ComparedSection, FailedRun
from ..analysis.sections import TriedRates
from ..core.paths import EMBEDDED
from ..spec.config import SCORING_VERSION
from ..store.excerpts import read_excerpts
from ..store.folders import Store
from ..store.record import RunRecord
from .bars import Bar, Scale, bar_of, scale_of
from .beforehand import before_the_table, how_to_read, terms
from .blank_cells import why_blank
from .cells import Column
from .diverged import diverged_cell
from .markdown import TRIED, conclusions, costs_note, published, trained_on
from .page_columns import axis_title, heading_of, is_price, meaning_of, page_columns, run_columns
from .page_data import is_older, names_of_tables, scored_on, section_json
from .page_pool import Pool
from .page_runs import Settings, flat, runs_json
from .page_template import assets, environment, plain_texts
from .recommended import Recommended, recommended
from .run_errors import errors_over_kinds, kinds_of_questions
from .short_tables import best_settings, breadth, heading
from .timed import STEP, TIMED
from .words import NOTHING_SEARCHED

HTML = "report.html"  # in the folder of the results
STYLES = ("base.css", "tables.css", "views.css", "answer.css")
SCRIPTS = (
    *("text.js", "state.js", "query.js", "tables.js", "scales.js", "labels.js", "scatter.js", "lines.js", "save.js"),
    *(
        "answer.js",
        "rows.js",
        "plot.js",
        "explore.js",
        "maps.js",
        "panels.js",
        "flips.js",
        "compare.js",
        "run.js",
        "main.js",
    ),
)  # in the order in which they stand in one module
SHOWN_FIRST = ("verdict", "verdict by loss", "params", "lr", "step time", "forgets")  # behind the name and the bar
VERDICTS = SHOWN_FIRST[:2]


@dataclass(frozen=True)
class ShortRow:
    """A row of the first table."""

    row: ComparedArm
    best: bool  # whether it is one that readers see first
    bar: Bar | None
    cells: list[str]  # of the columns behind the bar
    values: list[float | str | None]
    whys: list[str]  # why a cell without text has none


class Heading(NamedTuple):
    """A column of the first table."""

    name: str  # as the page has it
    meaning: str
    left: bool
    better: str | None
    marks: Markup  # attributes of its cells, by which a script shows the price that a reader picks


@dataclass(frozen=True)
class Answer:
    """What the markup itself says of a section."""

    slug: str
    title: str
    name: str
    model: str
    one_seed: bool
    heading: str  # of its table
    older: bool  # whether it was scored by rules that no run is scored by any more
    recommended: Recommended
    terms: list[tuple[str, str]]  # its words and their meanings
    beforehand: list[str]  # what narrows it down
    how_to_read: list[str]
    prices: list[Price]  # of each arm that the headline tells to use
    columns: list[Heading]
    rows: list[ShortRow]
    diverged: list[tuple[str, list[str]]]  # arms of which every run diverged, and their cells
    scale: Scale | None
    notes: list[str]
    tried: list[TriedRates]


class Price(NamedTuple):
    """What a recommended arm costs and scores."""

    arm: ComparedArm
    facts: list[tuple[str, str, str | None, bool]]  # a quantity, its cell, its name as a price, whether it is hidden


PRICED = ("test %", "test loss", "seeds", "params", "step time", "forgets")  # columns, of the recommended arm


def page(
    sections: Sequence[ComparedSection], failed: Sequence[FailedRun], store: Store, references: Sequence[Path] = ()
) -> str:
    """The page as HTML.

    Raises:
        UserError: a reference file cannot be read.
    """
    ordered = _in_order(sections)
    # By id, since an untuned run is in several sections.
    runs = {record.run_id: record for section in ordered for record in section.section.records}
    records = [runs[run_id] for run_id in sorted(runs)]
    excerpts = {record.run_id: read_excerpts(record, store) for record in records}
    columns, pool, names = run_columns(records), Pool(), names_of_tables(ordered)
    kinds = kinds_of_questions(arm for section in ordered for arm in section.section.arms)
    errors = {record.run_id: errors_over_kinds(record, store, kinds) for record in records}
    best = [best_settings(section, most=None) for section in ordered]
    data = {
        "sections": [
            section_json(section, name, excerpts, [row.index for row in rows], pool)
            for section, name, rows in zip(ordered, names, best, strict=True)
        ],
        "rules": SCORING_VERSION,
        "runColumns": [column.json() for column in columns],
        "runs": runs_json(records, excerpts, columns, pool, errors),
        "firstConfig": flat(records[0].config_as_shown()) if records else {},
        "firstOrigin": _first_origin(records),
        "steps": pool.steps,
        "texts": pool.texts,
    }
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            answers=[
                _answer(section, name, rows, _said_elsewhere(section, ordered, names))
                for section, name, rows in zip(ordered, names, best, strict=True)
            ],
            failed=failed,
            references=[published(path) for path in references],
            tried=TRIED,
            data=htmlsafe_json_dumps(plain_texts(data), dumps=_dumps),
            style=assets(STYLES),
            script=assets(SCRIPTS),
        )
    )


def _in_order(sections: Sequence[ComparedSection]) -> list[ComparedSection]:
    """The table of most interest first, and behind it the others of its model; what is scored by older rules last."""
    ordered = sorted(sections, key=_by_interest)
    models = list(dict.fromkeys(section.section.model for section in ordered))
    return sorted(ordered, key=lambda section: (is_older(section), models.index(section.section.model)))


def _by_interest(section: ComparedSection) -> tuple[object, ...]:
    """First what is scored as runs are today, of that what has verdicts, then the models that people use."""
    judged, *counts = breadth(section)
    toy = section.section.records[0].config.model in EMBEDDED
    return is_older(section), not judged, toy, section.section.model, *(-count for count in counts)


def _first_origin(records: Sequence[RunRecord]) -> Settings:
    return flat(records[0].provenance.model_dump(mode="json")) if records and records[0].provenance else {}


def _dumps(value: object, **_: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _said_elsewhere(section: ComparedSection, sections: Sequence[ComparedSection], names: Sequence[str]) -> list[str]:
    """What other tables of the same model and data answer, where it is not the same."""
    own = recommended(section).headline
    return [
        f"The table of {name} says: {said}"
        for other, name in zip(sections, names, strict=True)
        if other is not section and other.verdicts and scored_on(other) == scored_on(section)
        if (said := recommended(other).headline) != own and not is_older(other)
    ]


def _answer(section: ComparedSection, name: str, rows: Sequence[ComparedArm], elsewhere: Sequence[str]) -> Answer:
    columns = {column.name: column for column in page_columns()}
    diverged = rows_of_diverged(section.section)
    unjudged = section.one_seed and not diverged  # which a sentence says of all rows, and no column of each
    said, beforehand = recommended(section), before_the_table(section)
    nothing_searched = NOTHING_SEARCHED in beforehand
    first = sorted(SHOWN_FIRST, key=lambda name: name != "verdict by loss" or not said.rests_on_loss)
    extra = [name for name, column in columns.items() if is_price(column) and name not in SHOWN_FIRST]
    first = [name for name in first if not (unjudged and name in VERDICTS)]
    names = [name for each in first for name in ((each, *extra) if each == "params" else (each,))]
    shown = [columns[name] for name in names if any(columns[name].cell(row).text for row in rows)]
    scale = scale_of(section, rows)
    cells = [[column.cell(row) for column in shown] for row in section.arms]
    best = {row.index for row in rows}
    notes = [
        *(note for note in map(unescape, filter(None, conclusions(section, bold=False))) if note not in beforehand),
        costs_note(section, (STEP, *TIMED.values())),
        _trained_on(section),
    ]
    return Answer(
        slug=section.slug,
        title=section.title,
        name=name,
        model=section.section.model,
        one_seed=section.one_seed,
        heading=heading(section),
        older=is_older(section),
        recommended=replace(said, sentences=[*said.sentences, *([NOTHING_SEARCHED] if nothing_searched else [])]),
        terms=terms(section),
        beforehand=[line for line in (*beforehand, *elsewhere) if line != NOTHING_SEARCHED],
        how_to_read=how_to_read(section),
        prices=[
            _price(row, [columns[name] for name in PRICED], [columns[name] for name in extra]) for row in said.to_use
        ],
        columns=[_heading(column, section) for column in shown],
        rows=[
            ShortRow(
                row,
                row.index in best,
                bar_of(row, scale),
                [cell.text for cell in line],
                [cell.sort for cell in line],
                [why_blank(column, row) for column in shown],
            )
            for row, line in zip(section.arms, cells, strict=True)
        ],
        diverged=[(arm.name, [diverged_cell(column, arm).text for column in shown]) for arm in diverged],
        scale=scale,
        notes=[note for note in notes if note],
        tried=section.section.tried,
    )


def _trained_on(section: ComparedSection) -> str:
    return f"{trained_on(section.section.records)}; protocol {section.section.protocol}, {section.scored_by}."


def _heading(column: Column, section: ComparedSection) -> Heading:
    marks = Markup("")
    if is_price(column):
        marks = Markup(' data-price="{}"').format(column.name)
        marks += Markup("" if column.name in SHOWN_FIRST else " data-extra hidden")
    return Heading(heading_of(column), meaning_of(column, section.arms), column.left, column.better, marks)


def _price(row: ComparedArm, columns: Sequence[Column], extra: Sequence[Column]) -> Price:
    """What a recommended arm costs and scores, as its cells say.

    Args:
        extra: prices that are shown when a reader picks them.
    """
    cells = [(column, column.cell(row).text) for column in (*columns, *extra)]
    return Price(
        row,
        [
            (axis_title(column) or column.name, text, column.name if is_price(column) else None, column in extra)
            for column, text in cells
            if text
        ],
    )
