"""The data of the page as one JSON object: what its tables, drawings and comparisons are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from ..analysis.ablations import Ablation
from ..analysis.arms import Arm, compact, label_of
from ..analysis.compared_sections import ComparedArm, ComparedSection, summary_of
from ..analysis.comparisons import Pairs
from ..analysis.verdicts import Verdict
from ..core.json_types import Json
from ..spec.config import SCORING_VERSION
from ..store.excerpts import Excerpts
from .blank_cells import NOT_MEASURED, why_blank
from .by_kind import kind_table
from .kept_answers import kept_answers, texts_of_questions
from .page_columns import column_json, page_columns, scaled
from .page_pool import Pool, mean_curve
from .recommended import recommended

DIGITS = 4  # of a difference in points or nats, and of p


def section_json(
    section: ComparedSection, name: str, excerpts: Mapping[str, Excerpts], best: Sequence[int], pool: Pool
) -> Json:
    """All that the page knows of a section.

    Args:
        name: in a few words, as `names_of_tables` has it.
        excerpts: by run id.
        best: the places of the arms that the first table shows.
        pool: takes texts and curves, so that each is in the page once.
    """
    columns = page_columns()
    cells = [[column.cell(row) for column in columns] for row in section.arms]
    filled = [i for i in range(len(columns)) if any(line[i].text for line in cells)]
    arms = section.section.arms
    records = section.section.records
    return {
        "slug": section.slug,
        "title": section.title,
        "name": name,
        "model": section.section.model,
        "oneSeed": section.one_seed,
        "score": "loss" if recommended(section).rests_on_loss else "accuracy",
        "reference": section.reference,
        "columns": [column_json(columns[i], section.arms) for i in filled],
        "arms": [
            _arm(row, excerpts, pool)
            | {
                "cells": [line[i].text for i in filled],
                "values": [scaled(line[i].sort, columns[i]) for i in filled],
                "blanks": {
                    str(place): why
                    for place, i in enumerate(filled)
                    if not line[i].text and (why := why_blank(columns[i], row)) != NOT_MEASURED
                },
                "ends": {str(place): line[i].ends for place, i in enumerate(filled) if line[i].ends is not None},
                "measured": {
                    str(place): pair
                    for place, i in enumerate(filled)
                    if (timed := columns[i].timed) is not None and (pair := timed.measured_of(row.arm)) is not None
                },
            }
            for row, line in zip(section.arms, cells, strict=True)
        ],
        "best": list(best),
        "runs": [[record.run_id, label_of(record, records)] for record in records],
        "pairs": {
            "accuracy": _pairs(section.accuracy, arms, 100),
            "loss": _pairs(section.loss, arms, 1),
        },
        "swept": [_swept(swept) for swept in section.ablations],
        "kinds": None if (table := kind_table(arms)) is None else asdict(table),
        "questions": _questions(section, excerpts, pool),
    }


def names_of_tables(sections: Sequence[ComparedSection]) -> list[str]:
    """The model and the data of each in a few words, for headings and links.

    Where these are alike, they are those of today's rules of scoring, if one section has them, and of others the whole
    title.
    """
    lengths: dict[str, set[int]] = {}
    for section in sections:
        lengths.setdefault(scored_on(section), set()).add(section.section.records[-1].config.steps)
    names = [_short_name(section, with_steps=len(lengths[scored_on(section)]) > 1) for section in sections]
    today = [name for section, name in zip(sections, names, strict=True) if not is_older(section)]
    return [
        name if names.count(name) == 1 or (not is_older(section) and today.count(name) == 1) else section.title
        for section, name in zip(sections, names, strict=True)
    ]


def is_older(section: ComparedSection) -> bool:
    """Whether a table is by other rules of scoring than today's."""
    return section.section.records[0].config.eval.version != SCORING_VERSION


def scored_on(section: ComparedSection) -> str:
    """The model and the data of a table, in words."""
    return f"{section.section.model} on {' + '.join(section.section.records[0].config.eval.tasks)}"


def _short_name(section: ComparedSection, *, with_steps: bool) -> str:
    steps = f", {section.section.records[-1].config.steps:,} steps" if with_steps else ""
    return f"{scored_on(section)}{steps}, {section.section.records[0].test_n:,} questions"


# ------------------------------------------------------------------ arms


def _arm(row: ComparedArm, excerpts: Mapping[str, Excerpts], pool: Pool) -> Json:
    arm = row.arm
    interval = row.summary is not None and arm.conclusive
    return {
        "id": arm.first.arm,
        "name": arm.name,
        "untuned": arm.untuned,
        "runs": [record.run_id for record in arm.records],
        "accuracy": 100 * float(arm.scores.mean()),
        "interval": [100 * row.summary.low, 100 * row.summary.high] if interval and row.summary else None,
        "loss": None if row.loss is None else list(row.loss),
        "verdict": _word(row, row.verdict),
        "lossVerdict": _word(row, row.loss_verdict) if row.loss is not None else "",
        "train": pool.curve(mean_curve([(p.step, p.loss) for p in excerpts[r.run_id].curve] for r in arm.records)),
        "valid": pool.curve(mean_curve(record.valid_curve or [] for record in arm.records)),
    }


def _word(row: ComparedArm, verdict: Verdict | None) -> str:
    if row.is_reference:
        return "reference"
    return "" if verdict is None else verdict.shown


# ------------------------------------------------------------------ pairs


def _pairs(pairs: Pairs | None, arms: Sequence[Arm], scale: float) -> list[list[float | None] | None] | None:
    """For i < j, arm i less arm j: the difference, the ends of its interval, and p corrected for every pair.

    p is None where nothing may be concluded on a pair; the pair is None where it cannot be compared.
    """
    if pairs is None:
        return None
    known = None if pairs.sign > 0 else {i for pair in pairs.p for i in pair}  # of losses some arms have none
    table: list[list[float | None] | None] = []
    for i in range(len(arms)):
        for j in range(i + 1, len(arms)):
            if known is not None and not {i, j} <= known:
                table.append(None)
                continue
            pair, p = pairs[i, j], pairs.p.get((i, j))
            values = (pair.difference, pair.low, pair.high)
            table.append([*(round(scale * value, DIGITS) for value in values), None if p is None else round(p, DIGITS)])
    return table


def _swept(swept: Ablation) -> Json:
    series = []
    for each in swept.series:
        points = []
        for value, index in zip(each.values, each.members, strict=True):
            arm = swept.arms[index]
            summary = summary_of(arm, swept.pairs.noise)
            ends = [100 * summary.low, 100 * summary.high] if arm.conclusive else None
            points.append([compact(value), 100 * summary.mean, ends, arm.seeds])
        series.append({"name": each.name, "points": points})
    return {"axis": swept.axis, "conclusion": swept.conclusion(), "series": series}


# ------------------------------------------------------------------ questions


def _questions(section: ComparedSection, excerpts: Mapping[str, Excerpts], pool: Pool) -> Json | None:
    """Which questions each arm has right, and the texts that are kept; None where questions differ."""
    if section.accuracy is None:
        return None
    arms = section.section.arms
    kept = [kept_answers(arm, excerpts) for arm in arms]
    texts = texts_of_questions(each for of_arm in kept for each in of_arm)
    kinds = arms[0].kinds
    names = sorted(set(kinds or ()))
    return {
        "count": len(arms[0].questions),
        "right": [[_bits(scores) for scores in arm.scores] for arm in arms],
        "kinds": names,
        "kindOf": None if kinds is None else [names.index(kind) for kind in kinds],
        "texts": {
            str(question): [pool.text(prompt), pool.text(target)]
            for question, (prompt, target) in sorted(texts.items())
        },
        "kept": [
            [[each.question, each.run, pool.text(each.answer.response)] for each in of_arm if each.question in texts]
            for of_arm in kept
        ],
    }


def _bits(scores: NDArray[np.float64]) -> str:
    """Hexadecimal digits of which the first question is the highest bit; the last digit is filled with zeros."""
    return np.packbits(scores > 0.5).tobytes().hex()
