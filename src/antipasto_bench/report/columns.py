"""The columns of the comparison table: what each shows of an arm, as text and as a number to sort by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import Any

from ..analysis.arms import Arm
from ..analysis.comparisons import Row
from ..analysis.stats import gap
from ..spec.config import BASE
from ..store.table import COSTS
from .cost_text import against_base

REFERENCE = "lora"  # what every other row is set against


@dataclass(frozen=True)
class Cell:
    text: str
    sort: float | str | None = None  # None where there is nothing to sort by
    best: bool = False


@dataclass(frozen=True)
class Column:
    name: str
    told: str  # what it means, for people
    cell: Callable[[Row], Cell]
    group: str  # scores, costs or both
    left: bool = False


def rank_of(row: dict[str, Any]) -> str:
    """`full` where a variant takes every direction; empty where it has no rank."""
    if row["rank"] is not None:
        return str(row["rank"])
    return "full" if "r" in row["config"]["adapter"] and row["config"]["adapter"]["r"] is None else ""


def _rank(row: Row) -> Cell:
    text = rank_of(row.first)
    return Cell(text, float("inf") if text == "full" else float(text) if text else None)


def _test(row: Row) -> Cell:
    mean = float(row.arm.scores.mean())
    if row.summary is None or row.found is None:
        return Cell(f"{100 * mean:.1f}", mean)
    return Cell(f"{100 * mean:.1f}{_plus_minus(row.summary.stderr)}", mean, row.index in row.found.leading)


def _plus_minus(stderr: float) -> str:
    return "" if isnan(stderr) else f" ± {100 * stderr:.1f}"  # a single question has none


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # no minus zero


def _interval(row: Row) -> Cell:
    if row.summary is None:
        return Cell("")
    return Cell(f"{100 * row.summary.low:.1f} - {100 * row.summary.high:.1f}", row.summary.low)


def _group(row: Row) -> Cell:
    return Cell("" if row.found is None else row.found.groups[row.index], row.index)


def reference_of(arms: list[Arm]) -> int | None:
    """The arm that the others are set against: of several, the one of best validation, else of lowest rank."""
    found = [i for i, arm in enumerate(arms) if arm.variant == REFERENCE]
    if len(found) > 1:
        return min(found, key=lambda i: (-(arms[i].mean("valid_accuracy") or 0.0), arms[i].rows[0]["rank"] or 0, i))
    return found[0] if found else None


def _against_reference(row: Row) -> Cell:
    """The difference to the reference in points, with its corrected p."""
    reference = reference_of(row.arms)
    if row.found is None or reference is None or reference == row.index:
        return Cell("")
    i, j = sorted((row.index, reference))
    difference = row.found.pairs[i, j].difference * (1 if i == row.index else -1)
    return Cell(f"{_signed(100 * difference, 1)} (p {p_text(row.found.p[i, j])})", difference)


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def _percent(name: str) -> Callable[[Row], Cell]:
    return _number(name, lambda value: f"{100 * value:.1f}")


def _number(name: str, told: Callable[[float], str]) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        value = row.mean(name)
        return Cell("") if value is None else Cell(told(value), value)

    return cell


def _gap(row: Row) -> Cell:
    if row.arm.valid is None or row.found is None:
        return Cell("")
    value, stderr = gap(row.arm.valid, row.arm.scores)
    return Cell(f"{_signed(100 * value, 1)}{_plus_minus(stderr)}", value)


def _forgets(row: Row) -> Cell:
    before, after = row.mean("general_loss_base"), row.mean("general_loss")
    if before is None or after is None or row.arm.variant == BASE:
        return Cell("")
    return Cell(_signed(after - before, 2), after - before)


def _macs(row: Row) -> Cell:
    macs = row.first["added_macs_per_token"] or 0
    return Cell(f"{macs / 1e6:.3g}M" if macs else "", macs)


def _measured(name: str, scale: float = 1) -> Callable[[Row], Cell]:
    """A measured cost, with its ratio to the base's."""

    def cell(row: Row) -> Cell:
        costs = {key: row.mean(key) for key in COSTS} | {"variant": row.arm.variant}
        own = costs[f"base_{name}"] if row.arm.variant == BASE else costs[name]
        return Cell("") if own is None else Cell(against_base(costs, name, scale), own)

    return cell


COLUMNS = (
    Column("variant", "with the settings that tell it from its neighbours", lambda r: Cell(r.arm.label, r.arm.label),
           "both", left=True),
    Column("rank", "`full` is every singular direction", _rank, "both"),
    Column("lr", "learning rate; chosen by validation where several were tried",
           lambda r: Cell(f"{r.arm.lr:g}" if r.arm.lr else "", r.arm.lr), "scores"),
    Column("test %", "flexible-extract accuracy ± one standard error, over questions and seeds", _test, "both"),
    Column("95 %", "interval of test %", _interval, "scores"),
    Column("group", "rows that share a letter are not separated", _group, "scores", left=True),
    Column("vs lora", "points, and p corrected for all pairs of the table", _against_reference, "scores"),
    Column("strict %", "only answers that were announced", _percent("test_strict"), "scores"),
    Column("valid %", "on the questions that learning rates are chosen by", _percent("valid_accuracy"), "scores"),
    Column("valid - test", "points ± one standard error", _gap, "scores"),
    Column("forgets", "rise of the loss on general text, nats a token", _forgets, "scores"),
    Column("seeds", "runs in this row", lambda r: Cell(str(len(r.arm.rows)) if r.arm.trained_on_seeds else "",
           len(r.arm.rows)), "scores"),
    Column("params", "trained parameters", lambda r: Cell(f"{r.first['trained_parameters'] or 0:,}",
           r.first["trained_parameters"] or 0), "costs"),
    Column("adapter kB", "its file", _number("adapter_bytes", lambda v: f"{v / 1e3:.0f}"), "costs"),
    Column("+MACs/token", "multiply-accumulates that an unmerged adapter adds", _macs, "costs"),
    Column("fwd ms", "one batch, and the ratio to the base", _measured("forward_ms"), "costs"),
    Column("bwd ms", "one batch, and the ratio to the base's gradients down to its embeddings",
           _measured("backward_ms"), "costs"),
    Column("kept MB", "saved between forward and backward, and the ratio to the base",
           _measured("saved_bytes", 1e-6), "costs"),
    Column("peak MB", "memory of attaching and training: the whole process on a CPU, what is allocated on a GPU",
           _number("peak_bytes", lambda v: f"{v / 1e6:,.0f}"), "costs"),
    Column("init s", "attaching, calibration and SVDs included", _number("attach_cold_s", lambda v: f"{v:.2f}"),
           "costs"),
    Column("cached", "init s with the SVDs cached", _number("attach_warm_s", lambda v: f"{v:.2f}"), "costs"),
    Column("merge ms", "folding it into the weights", _number("merge_s", lambda v: f"{1e3 * v:.1f}"), "costs"),
    Column("train s", "the whole training of a run", _number("train_s", lambda v: f"{v:.0f}"), "costs"),
    Column("train tok/s", "in those runs, padding not counted", _number("train_tokens_per_s", lambda v: f"{v:,.0f}"),
           "costs"),
    Column("gen tok/s", "generating, unmerged, and the ratio to the base", _measured("generated_tokens_per_s"),
           "costs"),
)  # fmt: skip


def columns(group: str) -> list[Column]:
    return [column for column in COLUMNS if column.group in (group, "both")]
