"""The sweep file of what a tune chose: a line for each arm, at its best setting, on the seeds of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..spec.search import rate_at
from ..spec.tried import Tried, best_of, said_budget
from ..spec.tune import RESULT_SEEDS, Tune, sweep_line


def sweep_text(tune: Tune, tried: Mapping[str, Sequence[Tried]]) -> tuple[str | None, list[str]]:
    """The file's text, and the arms that are left out: no trial of theirs reached its end.

    Args:
        tried: trials by the name of the arm.

    Returns:
        None in place of the text where every arm is left out.
    """
    lines, left_out, presets = list[str](), list[str](), dict[str, None]()
    for arm in tune.arms:
        best = best_of(tried[arm.name])
        if best is None:
            left_out.append(arm.name)
            continue
        line, preset = sweep_line(arm.runs[best.value], rate_at(best.place))
        lines.append(line)
        presets[preset] = None
    if not lines:
        return None, left_out
    (preset,) = presets  # a tune has one
    seeds = sorted({trial.point.seed for own in tried.values() for trial in own})
    trials = said_budget(tune.search(tune.arms[0]).budget_by_steps)
    text = [
        f"# Chosen by antipasto-bench tune: {trials} an arm, by the loss of the validation questions.",
        f"# Seeds of the trials: {', '.join(map(str, seeds))}; of the runs below: {', '.join(map(str, RESULT_SEEDS))}.",
        f"preset: {preset}",
        "runs:",
        *(f"  - {line}" for line in lines),
    ]
    return "\n".join(text) + "\n", left_out
