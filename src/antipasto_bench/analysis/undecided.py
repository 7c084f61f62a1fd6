"""Which arms of a sweep are undecided by now, and which arms need another seed for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from ..core.errors import UserError
from ..spec.config import BASE, RunConfig
from ..store.folders import Store
from ..store.record import RunRecord
from .compared_sections import ComparedSection, compared_sections
from .plan import Plan, is_reference


class UndecidedArm(NamedTuple):
    name: str
    arms: tuple[str, ...]  # `RunConfig.arm` of those that need another seed: itself, and the reference


def undecided_arms(store: Store, among: Collection[str]) -> list[UndecidedArm]:
    """The arms whose accuracy is undecided against their table's reference, or may not be concluded on yet.

    The reference is to have as many seeds as any of them.

    Args:
        among: `RunConfig.arm` of those that are asked for.

    Raises:
        UserError: no run has finished, or the arms of a table cannot be compared, or it has no reference.
    """
    return [arm for section in compared_sections(store) for arm in _undecided(section, among)]


def _undecided(section: ComparedSection, among: Collection[str]) -> Iterable[UndecidedArm]:
    arms = section.section.arms
    asked = [i for i, arm in enumerate(arms) if arm.first.arm in among and i != section.reference]
    if not asked:
        return
    if section.accuracy is None:
        raise UserError(
            f"{section.title}: its arms cannot be compared, so none will be decided: their questions differ, or "
            "answers are neither right nor wrong"
        )
    if section.reference is None:
        raise UserError(f"{section.title}: no run of the reference, {section.plan.reference!r}, has a result")
    reference = arms[section.reference]
    for i in asked:
        verdict, arm = section.verdicts.get(i), arms[i]
        if verdict is None or verdict.word == "undecided":
            behind = not arm.trained_on_seeds or reference.seeds <= arm.seeds
            yield UndecidedArm(arm.name, (arm.first.arm, *([reference.first.arm] if behind else [])))


def require_reference(runs: Collection[RunConfig], plan: Plan) -> None:
    """Refuse runs of a protocol none of which is the reference: nothing of them would ever be decided.

    Raises:
        UserError: with what to add.
    """
    trained = [run for run in runs if run.variant != BASE]
    of_reference = {run.protocol for run in trained if is_reference(RunRecord.of(run, run.run_id), plan)}
    if any(run.protocol not in of_reference for run in trained) or not trained:
        raise UserError(
            f"the sweep has no run of the reference, {plan.reference!r}; add one, or name another: --reference WORDS"
        )
