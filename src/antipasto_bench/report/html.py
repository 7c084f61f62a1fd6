"""results/report.html: everything in one file that needs no network, for people with a browser.

Nothing that a model wrote is taken for markup: the template escapes every value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..analysis.compared_sections import Study
from ..analysis.comparisons import LEVEL
from ..core.errors import UserError
from ..store.folders import Store
from .columns import COLUMNS, Cell, p_text
from .figures import THEMES, ablation, config, learning_curves, pareto_explorer
from .markdown import TRIED, conclusions, made_on, prices, published

TEMPLATES = Path(__file__).parent / "templates"
CURVE_WIDTH, CURVE_HEIGHT = 320, 90  # of the small drawing on a run's page


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


NUMBERS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("test %", "test_accuracy", _percent),
    ("± one standard error", "test_stderr", _percent),
    ("strict %", "test_strict", _percent),
    ("valid %", "valid_accuracy", _percent),
    ("loss on general text, before", "general_loss_base", "{:.3f}".format),
    ("after", "general_loss", "{:.3f}".format),
    ("trained parameters", "trained_parameters", "{:,}".format),
    ("adapter, bytes", "adapter_bytes", "{:,}".format),
    ("first training loss", "first_loss", "{:.3f}".format),
    ("last training loss", "last_loss", "{:.3f}".format),
    ("mean gradient norm", "mean_grad_norm", "{:.3g}".format),
    ("training, s", "train_s", "{:.0f}".format),
    ("scoring, s", "eval_s", "{:.0f}".format),
    ("in all, s", "total_s", "{:.0f}".format),
    ("finished", "finished_at", str),
)


def page(found: list[Study], failed: list[tuple[str, str]], store: Store, references: Sequence[Path] = ()) -> str:
    """The page as HTML.

    Raises:
        UserError: a dossier or a reference file cannot be read.
    """
    dossiers = {row["run_id"]: _dossier(row["run_id"], store) for study in found for row in study.section.rows}
    charts: dict[str, Any] = {}
    parts = [_part(study, dossiers, charts) for study in found]
    runs = {row["run_id"]: row for study in found for row in study.section.rows}  # a base may stand in several tables
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2").render(
        parts=parts,
        runs=[_run(runs[run_id], dossiers[run_id]) for run_id in sorted(runs)],
        failed=failed,
        references=[published(path) for path in references],
        tried=TRIED,
        charts=charts,
        themes={theme: config(theme) for theme in THEMES},
        style=_asset("report.css"),
        script=_asset("report.js"),
        vega=_vega() if charts else "",
    )


def _asset(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # ours, not a model's


@cache
def _vega() -> Markup:
    """Vega, Vega-Lite and Vega-Embed, as one script that puts `vegaEmbed` into the window."""
    import vl_convert

    bundle = vl_convert.javascript_bundle(None)  # type: ignore[arg-type]  # its stub forgets the default
    return Markup(bundle.replace("</script", "<\\/script"))


def _part(study: Study, dossiers: dict[str, Any], charts: dict[str, Any]) -> dict[str, Any]:
    """What the template shows of one table; drawings are added to `charts` under the names of their places."""
    arms = study.section.arms

    def drawn(name: str, specification: dict[str, Any]) -> str:
        place = f"chart-{study.slug}-{name}"
        if specification:
            charts[place] = specification
        return place if specification else ""

    table = [[(column.name, column.cell(row)) for column in COLUMNS] for row in study.rows]
    kept = [i for i in range(len(COLUMNS)) if any(line[i][1].text for line in table)]
    curves = {arm.name: curve for arm in arms if (curve := _mean_curve(dossiers[row["run_id"]] for row in arm.rows))}
    return {
        "slug": study.slug,
        "title": study.title,
        "columns": [COLUMNS[i] for i in kept],
        "rows": [{"cells": [line[i][1] for i in kept], "arm": arm} for line, arm in zip(table, arms, strict=True)],
        "notes": [unescape(note) for note in conclusions(study) if note],
        "prices": prices(study),
        "made_on": f"{made_on(study.section.rows)}; protocol {study.section.protocol}.",
        "pareto": drawn("pareto", pareto_explorer(study) if study.found else {}),
        "curves": drawn("curves", learning_curves(curves)),
        "ablations": [
            {"axis": each.axis, "said": each.conclusion(), "chart": drawn(each.axis, ablation(each, None).to_dict())}
            for each in study.ablations
        ],
        "matrix": _matrix(study),
        "tried": [line.removeprefix("- ").replace("**", "") for line in study.section.tried],
    }


def _matrix(study: Study) -> list[dict[str, Any]]:
    """Corrected p of every pair: a line an arm, in the order of the table."""
    if study.found is None:
        return []
    count = len(study.section.arms)
    lines = []
    for i, arm in enumerate(study.section.arms):
        cells = []
        for j in range(count):
            p = study.found.p.get((min(i, j), max(i, j)))
            cells.append(
                Cell("")
                if p is None
                else Cell(p_text(p).replace("< 0.001", "0"), f"{arm.name} and {study.section.arms[j].name}: "
                          f"p {p_text(p)}", p < LEVEL)
            )  # fmt: skip
        lines.append({"name": arm.name, "cells": cells})
    return lines


def _dossier(run_id: str, store: Store) -> dict[str, Any]:
    path = store.dossier(run_id)
    if not path.exists():
        return {"curve": [], "answers": []}
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {"curve": list(kept["curve"]), "answers": list(kept["answers"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged; restore it, or write it anew: antipasto-bench measure {run_id}") from error


def _mean_curve(dossiers: Iterable[dict[str, Any]]) -> list[dict[str, float]]:
    """The mean loss over seeds at the steps that all of them have."""
    losses = [{point["step"]: point["loss"] for point in each["curve"]} for each in dossiers if each["curve"]]
    if not losses:
        return []
    steps = sorted(set.intersection(*map(set, losses)))
    return [{"step": step, "loss": round(sum(loss[step] for loss in losses) / len(losses), 4)} for step in steps]


def _run(row: dict[str, Any], dossier: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["run_id"],
        "row": row,
        "numbers": [(name, told(row[column])) for name, column, told in NUMBERS if row[column] is not None],
        "config": yaml.safe_dump(row["config"], sort_keys=False),
        "made": made_on([row]),
        "curve": _polyline(dossier["curve"]),
        "answers": dossier["answers"],
    }


def _polyline(curve: list[dict[str, float]]) -> dict[str, Any] | None:
    """The loss as points of an SVG, highest at the top; None where there are fewer than two."""
    if len(curve) < 2:
        return None
    losses = [point["loss"] for point in curve]
    low, high = min(losses), max(losses)
    span, last = (high - low) or 1.0, curve[-1]["step"]
    points = " ".join(
        f"{CURVE_WIDTH * point['step'] / last:.1f},{CURVE_HEIGHT * (high - point['loss']) / span:.1f}"
        for point in curve
    )
    return {"points": points, "width": CURVE_WIDTH, "height": CURVE_HEIGHT, "low": f"{low:.3g}", "high": f"{high:.3g}"}
