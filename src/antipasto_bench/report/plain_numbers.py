"""The numbers behind a cell of the comparison table, each under a name of its own, unscaled and unrounded."""

from __future__ import annotations

from collections.abc import Callable

from ..analysis.compared_sections import ComparedArm
from ..analysis.verdicts import Verdict

Numbers = dict[str, float | str | None]
NumbersOf = Callable[[ComparedArm], Numbers]


def accuracy(row: ComparedArm) -> Numbers:
    """Shares of questions; the interval only where the table shows one."""
    return {
        "test_accuracy": float(row.arm.scores.mean()),
        "test_stderr": None if row.summary is None else row.summary.stderr,
    }


def interval(row: ComparedArm) -> Numbers:
    shown = row.summary if row.arm.conclusive else None
    return {
        "test_accuracy_low": None if shown is None else shown.low,
        "test_accuracy_high": None if shown is None else shown.high,
    }


def difference(row: ComparedArm) -> Numbers:
    """Shares of questions, less the reference's."""
    return _difference("accuracy_difference", row.verdict)


def loss_difference(row: ComparedArm) -> Numbers:
    """Nats a token, less the reference's."""
    return _difference("loss_difference", row.loss_verdict)


def _difference(name: str, verdict: Verdict | None) -> Numbers:
    pair = None if verdict is None else verdict.comparison
    return {
        name: None if pair is None else pair.difference,
        f"{name}_low": None if pair is None else pair.low,
        f"{name}_high": None if pair is None else pair.high,
    }


def p_values(name: str, verdict: Verdict | None) -> Numbers:
    """Both of a verdict's p, corrected for the family and its looks."""
    return {
        f"{name}_p": None if verdict is None else verdict.p,
        f"{name}_p_no_worse": None if verdict is None else verdict.p_no_worse,
    }


def ranks(row: ComparedArm) -> Numbers:
    low, high = row.ranks or (None, None)
    return {"rank_among_low": low, "rank_among_high": high}


def loss(row: ComparedArm) -> Numbers:
    """Nats a completion token."""
    if row.loss is None:
        return {"test_loss": None if row.arm.diverged else row.arm.mean("test_loss"), "test_loss_stderr": None}
    return dict(zip(("test_loss", "test_loss_stderr"), row.loss, strict=True))


def capacity(row: ComparedArm) -> Numbers:
    return {name: row.arm.mean(name) for name in ("parameters_per_token", "rank_to_fill")}


def seeds(row: ComparedArm) -> Numbers:
    trained = row.arm.trained_on_seeds
    return {"seeds": row.arm.seeds if trained else None, "diverged": row.arm.diverged if trained else None}
