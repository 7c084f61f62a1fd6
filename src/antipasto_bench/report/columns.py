"""The columns of the comparison table: what each shows of an arm, as text, as a number to sort by, and as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from typing import Literal

from ..analysis.compared_sections import ComparedArm
from ..analysis.verdicts import Verdict
from ..store.quantities import QUANTITIES, Quantity, TableColumn, quantity
from ..store.record import RunRecord
from . import plain_numbers
from .cells import Cell, CellOf, Column
from .plain_numbers import Numbers, NumbersOf
from .timed import TIMED
from .timed_columns import timed_column

ACCURACY, LOSS, CAPACITY = quantity("test_accuracy"), quantity("test_loss"), quantity("parameters_per_token")


# ------------------------------------------------------------------ what an arm is


def rank_of(record: RunRecord) -> str:
    """`full` where a variant takes every direction; empty where it has no rank."""
    if record.rank is not None:
        return str(record.rank)
    return "full" if record.config.adapter.get("r", "none") is None else ""


def _variant(row: ComparedArm) -> Cell:
    return Cell(row.arm.label, row.arm.label)


def _rank(row: ComparedArm) -> Cell:
    text = rank_of(row.arm.first)
    return Cell(text, float("inf") if text == "full" else float(text) if text else None)


def _lr(row: ComparedArm) -> Cell:
    return Cell(f"{row.arm.lr:g}" if row.arm.lr else "", row.arm.lr)


def _seeds(row: ComparedArm) -> Cell:
    arm = row.arm
    if not arm.trained_on_seeds:
        return Cell("")  # nothing was trained
    runs = arm.seeds
    return Cell(f"{runs} ({arm.diverged} diverged)" if arm.diverged else str(runs), runs)


IDENTITY = (
    Column(
        "variant",
        "with the settings that tell it from its neighbours",
        _variant,
        "both",
        lambda row: {"arm": row.arm.label, "variant": row.arm.variant},
        left=True,
    ),
    Column("rank", "`full` is every singular direction", _rank, "both", lambda row: {"rank": rank_of(row.arm.first)}),
    Column(
        "lr",
        "learning rate; of several that were tried, what tune found or validation chose",
        _lr,
        "scores",
        lambda row: {"lr": row.arm.lr},
    ),
)
SEEDS = Column(
    "seeds",
    "runs in this row, without those that chose its learning rate; one that diverged has nothing right",
    _seeds,
    "scores",
    plain_numbers.seeds,
)


# ------------------------------------------------------------------ statistics of a quantity


def _test(row: ComparedArm) -> Cell:
    mean = float(row.arm.scores.mean())
    if row.summary is None:
        return Cell(ACCURACY.text(mean), mean)
    may_be_first = row.ranks is not None and row.ranks[0] == 1
    return Cell(f"{ACCURACY.text(mean)}{_plus_minus(row.summary.stderr)}", mean, may_be_first)


def _plus_minus(stderr: float) -> str:
    return "" if isnan(stderr) else f" ± {ACCURACY.text(stderr)}"  # a single question has none


def signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # no minus zero


def _interval(row: ComparedArm) -> Cell:
    if row.summary is None or not row.arm.conclusive:
        return Cell("")
    low, high = row.summary.low, row.summary.high
    ends = (ACCURACY.scale * low, ACCURACY.scale * high)
    return Cell(f"{ACCURACY.text(low)} - {ACCURACY.text(high)}", round(low, 6), ends=ends)


def _ranks(row: ComparedArm) -> Cell:
    if row.ranks is None:
        return Cell("")
    low, high = row.ranks
    return Cell(str(low) if low == high else f"{low}-{high}", low + high / 1000)


def _difference(verdict: Verdict | None, scale: float, digits: int) -> Cell:
    """A difference to the reference, with its interval."""
    if verdict is None:
        return Cell("")
    pair = verdict.comparison
    value, *ends = (scale * number for number in (pair.difference, pair.low, pair.high))
    low, high = (signed(end, digits) for end in ends)
    return Cell(f"{signed(value, digits)} ({low} to {high})", value, ends=(ends[0], ends[1]))


def _against_reference(row: ComparedArm) -> Cell:
    """The difference to the reference in points."""
    return _difference(row.verdict, scale=100, digits=1)


def _loss_against_reference(row: ComparedArm) -> Cell:
    """The difference of the losses to the reference's, nats a token."""
    return _difference(row.loss_verdict, scale=1, digits=4)


_ORDER = {"better": 0, "no worse": 1, "undecided": 2, "worse": 3}


def _word(row: ComparedArm, verdict: Verdict | None) -> Cell:
    if row.section.accuracy is None:
        return Cell("")
    if row.is_reference:
        return Cell("reference", 1.5)
    if verdict is None:
        return Cell("" if row.arm.conclusive else "one seed")
    return Cell(verdict.shown, _ORDER[verdict.word])


def _verdict(row: ComparedArm) -> Cell:
    return _word(row, row.verdict)


def _loss_verdict(row: ComparedArm) -> Cell:
    return Cell("") if row.section.loss is None or row.loss is None else _word(row, row.loss_verdict)


def _test_loss(row: ComparedArm) -> Cell:
    mean = None if row.arm.diverged else row.arm.mean("test_loss")
    if row.loss is None:  # of some of its seeds alone, or of none
        return Cell("") if mean is None else Cell(LOSS.text(mean), mean)
    mean, stderr = row.loss
    return Cell(LOSS.text(mean) + ("" if stderr is None else f" ± {LOSS.text(stderr)}"), mean)


def _forgetting(row: ComparedArm) -> Cell:
    before, after = row.arm.mean("general_loss_base"), row.arm.mean("general_loss")
    if before is None or after is None or row.arm.untuned:
        return Cell("")
    return Cell(signed(after - before, 2), after - before)


def _capacity(row: ComparedArm) -> Cell:
    """Trained parameters a completion token, and the rank that the data could fill."""
    ratio = row.arm.mean("parameters_per_token")
    if ratio is None:
        return Cell("")
    filled = row.arm.mean("rank_to_fill")
    return Cell(CAPACITY.text(ratio) + ("" if filled is None else f" (rank {filled:,.0f})"), ratio)


def _verdict_numbers(row: ComparedArm) -> Numbers:
    return {"verdict": _verdict(row).text, **plain_numbers.p_values("verdict", row.verdict)}


def _loss_verdict_numbers(row: ComparedArm) -> Numbers:
    return {"loss_verdict": _loss_verdict(row).text, **plain_numbers.p_values("loss_verdict", row.loss_verdict)}


# What is shown of a quantity in place of its mean over seeds, and the statistics of it that stand beside it.
IN_PLACE: dict[str, tuple[CellOf, NumbersOf]] = {
    "test_accuracy": (_test, plain_numbers.accuracy),
    "test_loss": (_test_loss, plain_numbers.loss),
    "forgetting": (_forgetting, lambda row: {"forgetting": _number(_forgetting(row))}),
    "parameters_per_token": (_capacity, plain_numbers.capacity),
}
BESIDE: dict[str, tuple[Column, ...]] = {
    "test_accuracy": (
        Column("95 %", f"interval of {ACCURACY.label}", _interval, "scores", plain_numbers.interval),
        Column(
            "vs reference",
            "points less the reference's, with the 95 % interval of this pair alone; verdicts are corrected",
            _against_reference,
            "scores",
            plain_numbers.difference,
        ),
        Column(
            "verdict", "on accuracy, against the reference, as planned", _verdict, "scores", _verdict_numbers, left=True
        ),
        Column(
            "rank among",
            "the places by accuracy that it may have, from all pairs",
            _ranks,
            "scores",
            plain_numbers.ranks,
        ),
    ),
    "test_loss": (
        Column(
            "loss vs reference",
            "nats a token less the reference's, negative where it is better, with the 95 % interval of this pair alone",
            _loss_against_reference,
            "scores",
            plain_numbers.loss_difference,
        ),
        Column(
            "verdict by loss",
            "on the held-out loss, against the reference",
            _loss_verdict,
            "scores",
            _loss_verdict_numbers,
            left=True,
        ),
    ),
}


# ------------------------------------------------------------------ the quantities of the list


def all_columns(quantities: Sequence[Quantity] = QUANTITIES) -> tuple[Column, ...]:
    """The columns of both tables, in their order: what an arm is, its scores, its costs."""
    scores, costs = list[Column](), list[Column]()
    for entry in quantities:
        if entry.column is None:
            continue
        table = costs if entry.column.table == "costs" else scores
        if entry.field in TIMED:
            table.append(timed_column(TIMED[entry.field], entry))
            continue
        cell, numbers = IN_PLACE.get(entry.field) or _of_quantity(entry, entry.column)
        column = Column(entry.column.header, entry.column.meaning, cell, entry.column.table, numbers)
        table.append(replace(column, quantity=entry, better=entry.better, brackets=entry.column.brackets))
        table += BESIDE.get(entry.field, ())
    return (*IDENTITY, *scores, SEEDS, *costs)


def _of_quantity(entry: Quantity, column: TableColumn) -> tuple[CellOf, NumbersOf]:
    """What shows the mean of a quantity, and its numbers: in the unit of the record, the base's own beside it."""
    cell = _cell_of(entry, column)

    def numbers(row: ComparedArm) -> Numbers:
        own: Numbers = {entry.field: _number(cell(row))}
        return own if entry.base is None else own | {entry.base: row.arm.mean(entry.base)}

    return cell, numbers


def _number(cell: Cell) -> float | None:
    return None if cell.sort is None or isinstance(cell.sort, str) else cell.sort


def _cell_of(entry: Quantity, column: TableColumn) -> CellOf:
    """What shows the mean over seeds, with its ratio to the base's where that was measured; or a count as it is."""

    def counted(row: ComparedArm) -> Cell:
        value = getattr(row.arm.first, entry.field) or 0
        return Cell("" if column.zero_is_blank and not value else entry.text(value, column) + column.suffix, value)

    def mean(row: ComparedArm) -> Cell:
        value = row.arm.mean(entry.own(row.arm.untuned))
        if row.arm.diverged and value is not None and column.table != "costs":  # of those runs nothing is right
            value = value * len(row.arm.records) / row.arm.seeds if entry.unit == "share of questions" else None
        base = None if entry.base is None or row.arm.untuned else row.arm.mean(entry.base)
        return Cell("") if value is None else Cell(entry.text(value, column, base) + column.suffix, value)

    return counted if column.counted else mean


COLUMNS = all_columns()


def columns(table: Literal["scores", "costs"]) -> list[Column]:
    return [column for column in COLUMNS if column.table in (table, "both")]
