"""What `sweep` does with the plan of comparisons, before the first run and after each round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import print_notice

if TYPE_CHECKING:
    from ..spec.sweep import Sweep
    from ..store.folders import Store


def settle_plan(sweep: Sweep, store: Store, place: str, reference: str | None, margin: float | None) -> None:
    """Settle the plan that options or the sweep's file name; without any, that of a sweep that looks after every seed.

    Raises:
        UserError: a value is none, or another plan is settled already, or nothing could be decided by it.
    """
    from ..analysis.plan import checked_plan, plan_file, read_plan, settle
    from ..analysis.undecided import require_reference
    from ..sweeps.plan import plan

    options = {"reference": reference, "margin": margin}
    given = {name: value for name, value in options.items() if value is not None}
    if not (sweep.plan or given or sweep.until_decided):
        return
    if sweep.until_decided:
        require_reference(sweep.runs, checked_plan({**vars(read_plan(store)), **sweep.plan, **given}, place))
    is_new = not plan_file(store).exists()
    done = sum(p.state == "done" for p in plan(sweep, store)) if is_new else 0
    store.check_writable()
    settled = settle(store, {**sweep.plan, **given}, place, "every seed" if sweep.until_decided else None)
    if is_new:
        late = f"; {done} runs of the sweep had results before it was" if done else ""
        print_notice(
            f"settled in {plan_file(store)}: every arm against {settled.reference}, margin {settled.margin:g} points, "
            f"looks: {settled.looks}{late}"
        )
