"""The runs that were made again, as Markdown: each with what came of it, and where it was made."""

from __future__ import annotations

from collections.abc import Sequence

from ..store.repeats import RepeatRecord
from .markdown import markdown_table
from .markup import code, escaped

HEADER = ("run", "recorded", "again", "right %, then and now", "flipped", "loss, nats a token", "bits", "outcome")
NONE = "No run has been made again yet."


def repeats_markdown(repeats: Sequence[RepeatRecord]) -> str:
    """A sentence, a table with a row a repeat in the order in which they were made, and what differed."""
    if not repeats:
        return f"{NONE}\n"
    ordered = sorted(repeats, key=lambda repeat: (repeat.finished_at, repeat.run_id))
    table = markdown_table(HEADER, [*map(_row, ordered)], left=("run", "bits", "outcome"))
    return "\n\n".join([_summary(ordered), table, *_differences(ordered)]) + "\n"


def _summary(repeats: Sequence[RepeatRecord]) -> str:
    parts = []
    for demanded, where in (("same bits", "on the same kind of machine"), ("within tolerance", "elsewhere")):
        of_kind = [repeat for repeat in repeats if repeat.demanded == demanded]
        if of_kind:
            same = sum(repeat.outcome == "same bits" for repeat in of_kind)
            near = sum(repeat.outcome == "within tolerance" for repeat in of_kind)
            parts.append(
                f"{where} {len(of_kind)}: {same} to the last bit, {near} within the tolerance, "
                f"{len(of_kind) - same - near} beyond it"
            )
    runs = len({repeat.run_id for repeat in repeats})
    return f"{len(repeats)} repeat{'s' * (len(repeats) != 1)} of {runs} run{'s' * (runs != 1)}; {'; '.join(parts)}."


def _row(repeat: RepeatRecord) -> tuple[str, ...]:
    accuracy = f"{100 * repeat.recorded_accuracy:.1f} and {100 * repeat.repeated_accuracy:.1f}"
    loss = repeat.loss_difference
    return (
        code(repeat.run_id),
        escaped((repeat.recorded_at or "")[:10]),
        escaped(repeat.finished_at[:10]),
        accuracy,
        f"{repeat.lost} lost, {repeat.gained} gained of {repeat.questions}",
        "" if loss is None or repeat.repeated_loss is None else f"{repeat.repeated_loss:.4f} ({loss:+.4f})",
        _bits(repeat),
        repeat.outcome if repeat.holds else f"**{repeat.outcome}**",
    )


def _bits(repeat: RepeatRecord) -> str:
    parts = (("adapter", repeat.same_adapter), ("scores", repeat.same_items), ("answers", repeat.same_answers))
    same = [name for name, value in parts if value]
    return " ".join(same) if same else "none the same"


def _differences(repeats: Sequence[RepeatRecord]) -> list[str]:
    """What differed in machine, threads, versions and code, each once with the runs that it was so for."""
    of: dict[str, list[str]] = {}
    for repeat in repeats:
        changes = list(repeat.environment)
        then, now = (
            str(commit or "no commit")[:10] for commit in (repeat.recorded_commit, repeat.provenance.git.commit)
        )
        changes += [] if then == now else [f"code {then}, now {now}"]
        for change in changes:
            of.setdefault(change, []).append(repeat.run_id)
    everywhere = [f"- {escaped(change)}: {_which(runs, len(repeats))}" for change, runs in sorted(of.items())]
    return ["What was not as it was when the row was made:", "\n".join(everywhere)] if everywhere else []


def _which(runs: Sequence[str], of: int) -> str:
    return "all" if len(runs) == of else ", ".join(code(run) for run in dict.fromkeys(runs))
