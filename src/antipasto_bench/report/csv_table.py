"""Every table as one CSV file: a row an arm, every number behind every column, unscaled; for programs.

The first columns say which table a row is of, so that one file holds them all. Shares are of 1, differences are less
the reference, p are corrected for `comparisons`. What is not known is empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from math import isfinite

from ..analysis.choosing_notes import DivergedArm, rows_of_diverged
from ..analysis.compared_sections import ComparedArm, ComparedSection
from ..analysis.verdicts import LEVEL
from ..core.places import shown_name
from ..core.text import one_line
from ..store.record import RunRecord
from .columns import COLUMNS, rank_of
from .diverged import EVERY_RUN_DIVERGED
from .plain_numbers import Numbers

_FORMULA = ("=", "+", "-", "@")  # a spreadsheet computes a text that begins so


def csv_table(sections: Sequence[ComparedSection]) -> str:
    """The whole tables as CSV with a header, in the order of docs/results.md."""
    rows = []
    for section in sections:
        rows += [_table(section) | _arm(row) for row in section.arms]
        rows += [_table(section) | _diverged(arm) for arm in rows_of_diverged(section.section)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_plain(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def trained_with(section: ComparedSection) -> RunRecord:
    """A run whose settings are those of its table: one that was trained, where there is any."""
    records = section.section.records
    return next((record for record in records if not record.untuned), records[0])


def _table(section: ComparedSection) -> Numbers:
    """What all rows of a table have in common."""
    config = trained_with(section).config
    reference = None if section.reference is None else section.arms[section.reference].arm.name
    return {
        "model": section.section.model,
        "train_data": shown_name(config.data.train),
        "tasks": " ".join(config.eval.tasks),
        "questions": section.section.records[0].test_n,
        "scoring_rules": config.eval.version,
        "protocol": section.section.protocol,
        "dtype": config.dtype,
        "steps": config.steps,
        "batch": config.batch_size * config.grad_accum,
        "reference": reference,
        "comparisons": len(section.verdicts),
        "loss_comparisons": len(section.loss_verdicts),
        "correction": f"Holm {LEVEL:g}",
        "margin": section.plan.margin / 100,
        "loss_margin": section.plan.loss_margin,
    }


def _arm(row: ComparedArm) -> Numbers:
    numbers: Numbers = {}
    for column in COLUMNS:
        numbers |= column.numbers(row)
    return numbers | {"runs": " ".join(record.run_id for record in row.arm.records)}


def _diverged(arm: DivergedArm) -> Numbers:
    """What is known of an arm of which every run diverged: that nothing is right."""
    first, runs = arm.records[0], len(arm.records)
    return {
        "arm": arm.label,
        "variant": first.variant,
        "rank": rank_of(first),
        "lr": first.lr,
        "test_accuracy": 0.0,
        "verdict": EVERY_RUN_DIVERGED,
        "seeds": runs,
        "diverged": runs,
        "runs": " ".join(record.run_id for record in arm.records),
    }


def _plain(value: float | str | None) -> str:
    """A value in ten digits: more than any is known to, and fewer than the order of sums changes; counts whole."""
    if isinstance(value, str):
        text = one_line(value)
        return f"'{text}" if text.startswith(_FORMULA) else text
    if value is None or not isfinite(value):
        return ""
    return str(int(value)) if float(value).is_integer() else f"{value:.10g}"
