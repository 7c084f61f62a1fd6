"""The columns of the comparison table: what each shows of an arm, as text and as a number to sort by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

from ..analysis.arms import Arm
from ..analysis.comparisons import ComparedArm, Comparisons, LossComparisons
from ..analysis.losses import loss_over_seeds, loss_table
from ..analysis.stats import gap
from ..store.quantities import QUANTITIES, Quantity, TableColumn, quantity
from ..store.record import RunRecord

REFERENCE = "lora"  # what every other row is set against
ACCURACY, LOSS = quantity("test_accuracy"), quantity("test_loss")


@dataclass(frozen=True)
class Cell:
    text: str
    sort: float | str | None = None  # None where there is nothing to sort by
    best: bool = False


CellOf = Callable[[ComparedArm], Cell]


@dataclass(frozen=True)
class Column:
    name: str
    meaning: str  # for people
    cell: CellOf
    table: Literal["scores", "costs", "both"]
    left: bool = False


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
    runs = len(row.arm.records)
    return Cell(str(runs) if row.arm.trained_on_seeds else "", runs)


IDENTITY = (
    Column("variant", "with the settings that tell it from its neighbours", _variant, "both", left=True),
    Column("rank", "`full` is every singular direction", _rank, "both"),
    Column("lr", "learning rate; chosen by validation where several were tried", _lr, "scores"),
)
SEEDS = Column("seeds", "runs in this row", _seeds, "scores")


# ------------------------------------------------------------------ statistics of a quantity


def _test(row: ComparedArm) -> Cell:
    mean = float(row.arm.scores.mean())
    if row.summary is None or row.comparisons is None:
        return Cell(ACCURACY.text(mean), mean)
    return Cell(f"{ACCURACY.text(mean)}{_plus_minus(row.summary.stderr)}", mean, row.index in row.comparisons.leading)


def _plus_minus(stderr: float) -> str:
    return "" if isnan(stderr) else f" ± {ACCURACY.text(stderr)}"  # a single question has none


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # no minus zero


def _interval(row: ComparedArm) -> Cell:
    if row.summary is None:
        return Cell("")
    return Cell(f"{ACCURACY.text(row.summary.low)} - {ACCURACY.text(row.summary.high)}", row.summary.low)


def _group(row: ComparedArm) -> Cell:
    return Cell("" if row.comparisons is None else row.comparisons.groups[row.index], row.index)


def reference_of(arms: list[Arm]) -> int | None:
    """The arm that the others are set against: of several, the one of best validation, else of lowest rank."""
    candidates = [i for i, arm in enumerate(arms) if arm.variant == REFERENCE]
    if len(candidates) > 1:
        return min(candidates, key=lambda i: (-(arms[i].mean("valid_accuracy") or 0.0), arms[i].first.rank or 0, i))
    return candidates[0] if candidates else None


def _against_reference(row: ComparedArm) -> Cell:
    """The difference to the reference in points, with its corrected p."""
    return _difference_to_reference(row, row.comparisons, scale=100, digits=1)


def _loss_against_reference(row: ComparedArm) -> Cell:
    """The difference of the losses to the reference's, nats a token, with its corrected p."""
    return _difference_to_reference(row, row.losses, scale=1, digits=4)


def _difference_to_reference(
    row: ComparedArm, comparisons: Comparisons | LossComparisons | None, scale: float, digits: int
) -> Cell:
    reference = reference_of(row.arms)
    if comparisons is None or reference is None or reference == row.index:
        return Cell("")
    i, j = sorted((row.index, reference))
    difference = comparisons.pairs[i, j].difference * (1 if i == row.index else -1)
    return Cell(f"{_signed(scale * difference, digits)} (p {p_text(comparisons.p[i, j])})", difference)


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _gap(row: ComparedArm) -> Cell:
    if row.arm.valid is None or row.comparisons is None:
        return Cell("")
    value, stderr = gap(row.arm.valid, row.arm.scores)
    return Cell(f"{_signed(100 * value, 1)}{_plus_minus(stderr)}", value)


def _test_loss(row: ComparedArm) -> Cell:
    arm, mean = row.arm, row.arm.mean("test_loss")
    if mean is None:
        return Cell("")
    if arm.losses is None:  # of some of its seeds alone
        return Cell(LOSS.text(mean), mean)
    noise = row.losses.noise if row.losses is not None and arm.trained_on_seeds else None
    mean, stderr = loss_over_seeds(loss_table(arm.losses.nats, arm.losses.tokens), noise)
    return Cell(LOSS.text(mean) + ("" if stderr is None else f" ± {LOSS.text(stderr)}"), mean)


def _forgetting(row: ComparedArm) -> Cell:
    before, after = row.arm.mean("general_loss_base"), row.arm.mean("general_loss")
    if before is None or after is None or row.arm.untuned:
        return Cell("")
    return Cell(_signed(after - before, 2), after - before)


# What is shown of a score in place of its mean over seeds, and the statistics of it that stand beside it.
IN_PLACE: dict[str, CellOf] = {"test_accuracy": _test, "test_loss": _test_loss, "forgetting": _forgetting}
BESIDE: dict[str, tuple[Column, ...]] = {
    "test_accuracy": (
        Column("95 %", f"interval of {ACCURACY.label}", _interval, "scores"),
        Column("group", "rows that share a letter are not separated", _group, "scores", left=True),
        Column(f"vs {REFERENCE}", "points, and p corrected for all pairs of the table", _against_reference, "scores"),
    ),
    "test_loss": (
        Column(
            f"loss vs {REFERENCE}",
            "nats a token, negative where it is better, and p corrected for all pairs of the table",
            _loss_against_reference,
            "scores",
        ),
    ),
    "valid_accuracy": (Column("valid - test", "points ± one standard error", _gap, "scores"),),
}


# ------------------------------------------------------------------ the quantities of the list


def all_columns(quantities: Sequence[Quantity] = QUANTITIES) -> tuple[Column, ...]:
    """The columns of both tables, in their order: what an arm is, its scores, its costs."""
    scores, costs = list[Column](), list[Column]()
    for entry in quantities:
        if entry.column is None:
            continue
        cell = IN_PLACE.get(entry.field) or _cell_of(entry, entry.column)
        table = costs if entry.column.table == "costs" else scores
        table.append(Column(entry.column.header, entry.column.meaning, cell, entry.column.table))
        table += BESIDE.get(entry.field, ())
    return (*IDENTITY, *scores, SEEDS, *costs)


def _cell_of(entry: Quantity, column: TableColumn) -> CellOf:
    """What shows the mean over seeds, with its ratio to the base's where that was measured; or a count as it is."""

    def counted(row: ComparedArm) -> Cell:
        value = getattr(row.arm.first, entry.field) or 0
        return Cell("" if column.zero_is_blank and not value else entry.text(value, column) + column.suffix, value)

    def mean(row: ComparedArm) -> Cell:
        value = row.arm.mean(entry.own(row.arm.untuned))
        base = None if entry.base is None or row.arm.untuned else row.arm.mean(entry.base)
        return Cell("") if value is None else Cell(entry.text(value, column, base) + column.suffix, value)

    return counted if column.counted else mean


COLUMNS = all_columns()


def columns(table: Literal["scores", "costs"]) -> list[Column]:
    return [column for column in COLUMNS if column.table in (table, "both")]
