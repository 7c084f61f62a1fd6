"""What `compare` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.arms import Arm
    from ..analysis.compare import ArmComparison, LossDifference, PlannedVerdict, TwoAnswers
    from ..analysis.stats import Comparison, Summary
    from ..core.json_types import Json


def comparison_json(compared: ArmComparison, shown: Mapping[str, Sequence[TwoAnswers]]) -> Json:
    """Run ids, numbers and counts of a comparison, and the answers that are shown.

    Args:
        shown: answers to questions of `only_a` and `only_b`.
    """
    return {
        **{name: [record.run_id for record in arm.records] for name, arm in (("a", compared.a), ("b", compared.b))},
        **_numbers(compared.comparison),
        "questions": compared.comparison.questions,
        "runs_only": compared.runs_only,
        "planned": _planned_json(compared.planned),
        "only_a": len(compared.only_a),
        "only_b": len(compared.only_b),
        "loss": _loss_json(compared.loss),
        "shown": shown,
    }


def _numbers(pair: Comparison) -> Json:
    return {name: getattr(pair, name) for name in ("difference", "stderr", "low", "high", "p")}


def _loss_json(loss: LossDifference | None) -> Json | None:
    """Both losses, nats a token, and the numbers of A's less B's; None where they were not measured."""
    return None if loss is None else {"a": loss.a, "b": loss.b, **_numbers(loss.comparison)}


def _planned_json(planned: PlannedVerdict | None) -> Json | None:
    """What the plan of the table says of the arm against the reference."""
    if planned is None:
        return None
    verdicts = {"accuracy": planned.accuracy, "loss": planned.loss}
    return {
        "arm": planned.arm,
        "reference": planned.reference,
        "margin": planned.margin,
        "comparisons": planned.comparisons,
        **{
            name: None if verdict is None else {"verdict": verdict.shown, "p": verdict.p}
            for name, verdict in verdicts.items()
        },
    }


def comparison_text(compared: ArmComparison, shown: Mapping[str, Sequence[TwoAnswers]]) -> str:
    """The accuracy of each arm, their difference, and the answers that are shown.

    Args:
        shown: answers to questions of `only_a` and `only_b`.
    """
    c = compared.comparison
    lines = [
        _arm_line("A", compared.a, compared.summaries[0]),
        _arm_line("B", compared.b, compared.summaries[1]),
        f"A - B  {100 * c.difference:+.1f} points (95 %: {100 * c.low:+.1f} to {100 * c.high:+.1f}), p = {c.p:.2g}, "
        f"{c.questions} questions",
        f"right in A and wrong in B: {len(compared.only_a)}; right in B and wrong in A: {len(compared.only_b)}",
    ]
    if compared.loss is not None:
        lines.append(_loss_line(compared.loss))
    if compared.runs_only:
        lines.append("these runs only: an arm has one seed, so interval and p say nothing of the methods")
    elif compared.planned is not None:
        lines.append(_planned_line(compared.planned))
    lines += comparison_notes(compared)
    for side, heading in (("only_a", "right in A, wrong in B"), ("only_b", "right in B, wrong in A")):
        for answer in shown[side]:
            lines.append(f"\n--- {heading}\n{answer['prompt']}\n[right] {answer['target']}")
            lines.append(f"[A]{answer['a'].rstrip()}\n[B]{answer['b'].rstrip()}")
    return "\n".join(lines)


def _planned_line(planned: PlannedVerdict) -> str:
    by_loss = "" if planned.loss is None else f"; by held-out loss: {planned.loss.shown}"
    return (
        f"as planned: {planned.arm} against {planned.reference}: {planned.accuracy.shown}; margin {planned.margin:g} "
        f"points, corrected for {planned.comparisons} comparison{'s' * (planned.comparisons != 1)}{by_loss}"
    )


def comparison_notes(compared: ArmComparison) -> list[str]:
    """What to know of a comparison, a sentence each: which arms were taken, copies, contamination, other conditions."""
    from ..analysis.conditions import mixed_conditions
    from ..analysis.contamination import contamination
    from ..report.markdown import batches_note

    arms = [compared.a, compared.b]
    mixed, batches = mixed_conditions(arms), batches_note(arms)
    return [note for note in (*compared.chosen, compared.copies, *contamination(arms), mixed, batches) if note]


def _loss_line(loss: LossDifference) -> str:
    c = loss.comparison
    return (
        f"loss   A {loss.a:.4f}, B {loss.b:.4f} nats a token; A - B {c.difference:+.4f} "
        f"(95 %: {c.low:+.4f} to {c.high:+.4f}), p = {c.p:.2g}; lower is better"
    )


def _arm_line(name: str, arm: Arm, s: Summary) -> str:
    rate = f" lr={arm.lr:g}" if arm.lr else ""
    interval = f" (95 %: {100 * s.low:.1f} to {100 * s.high:.1f})" if arm.conclusive else ""
    diverged = f", {arm.diverged} diverged" if arm.diverged else ""
    seeds = f"{s.seeds} seed{'s' if s.seeds > 1 else ''}{diverged}"
    return f"{name}      {arm.name}{rate}: {100 * s.mean:.1f} %{interval}, {seeds}"
