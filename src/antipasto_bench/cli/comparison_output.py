"""What `compare` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.arms import Arm
    from ..analysis.compare import ArmComparison, LossDifference, TwoAnswers
    from ..analysis.stats import Summary
    from ..core.json_types import Json


def comparison_json(compared: ArmComparison, shown: Mapping[str, Sequence[TwoAnswers]]) -> Json:
    """Run ids, numbers and counts of a comparison, and the answers that are shown.

    Args:
        shown: answers to questions of `only_a` and `only_b`.
    """
    names = ("difference", "stderr", "low", "high", "p", "questions")
    return {
        **{name: [record.run_id for record in arm.records] for name, arm in (("a", compared.a), ("b", compared.b))},
        **{name: getattr(compared.comparison, name) for name in names},
        "only_a": len(compared.only_a),
        "only_b": len(compared.only_b),
        "loss": _loss_json(compared.loss),
        "shown": shown,
    }


def _loss_json(loss: LossDifference | None) -> Json | None:
    """Both losses, nats a token, and the numbers of A's less B's; None where they were not measured."""
    if loss is None:
        return None
    numbers = {name: getattr(loss.comparison, name) for name in ("difference", "stderr", "low", "high", "p")}
    return {"a": loss.a, "b": loss.b, **numbers}


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
        *comparison_notes(compared),
    ]
    if compared.loss is not None:
        lines.append(_loss_line(compared.loss))
    for side, heading in (("only_a", "right in A, wrong in B"), ("only_b", "right in B, wrong in A")):
        for answer in shown[side]:
            lines.append(f"\n--- {heading}\n{answer['prompt']}\n[right] {answer['target']}")
            lines.append(f"[A]{answer['a'].rstrip()}\n[B]{answer['b'].rstrip()}")
    return "\n".join(lines)


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
    interval = f"95 %: {100 * s.low:.1f} to {100 * s.high:.1f}"
    seeds = f"{s.seeds} seed{'s' if s.seeds > 1 else ''}"
    return f"{name}      {arm.name}{rate}: {100 * s.mean:.1f} % ({interval}), {seeds}"
