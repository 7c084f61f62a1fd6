"""What is compared with what, settled before there are data: results/plan.yaml, or the defaults.

reference: lora rank=16     # the arm that every other is set against
margin: 2                   # points; an arm that is surely less than this below the reference is no worse
loss_margin: 0.01           # the same of the held-out loss, nats a token
looks: one                  # or `every seed`, where a sweep goes on until it is decided
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml

from antipasto.config import ALIASES, did_you_mean

from ..core.errors import UserError
from ..core.files import atomically
from ..core.yaml_files import read_mapping
from ..spec.compose import expand
from ..spec.config import ADAPTER_WORDS
from ..spec.grammar import parse_words
from ..store.folders import Store
from ..store.record import RunRecord
from ..store.settings import has_settings
from .arms import Arm
from .named_arms import default_among

FILE = "plan.yaml"  # in the folder of the results
Looks = Literal["one", "every seed"]


@dataclass(frozen=True)
class Plan:
    """The family of comparisons of a table: every arm against the reference, corrected for their number (Holm).

    Each swept axis is a family of its own. All pairs of a table are exploration.
    """

    reference: str = "lora"  # a variant, with settings where it has several arms
    margin: float = 2.0  # points
    loss_margin: float = 0.01  # nats a token
    looks: Looks = "one"


def plan_file(store: Store) -> Path:
    return store.results / FILE


def read_plan(store: Store) -> Plan:
    """The plan of the results; the defaults where they have none.

    Raises:
        UserError: it cannot be read, or says something unknown.
    """
    path = plan_file(store)
    if not path.exists():
        return Plan()
    return checked_plan(read_mapping(path, lambda keys: keys == ("reference",)), str(path))


def checked_plan(values: dict[str, Any], place: str) -> Plan:
    """A plan from what a file says.

    Raises:
        UserError: with the place, the key and what was expected.
    """
    fields = list(Plan.__dataclass_fields__)
    for key in values:
        if key not in fields:
            raise UserError(f"{place}: unknown key {key!r}{did_you_mean(key, fields)}")
    plan = Plan(**values)
    for key in ("margin", "loss_margin"):
        value = getattr(plan, key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise UserError(f"{place}: {key}={value!r}: expected a number above 0")
    if plan.looks not in get_args(Looks):
        raise UserError(f"{place}: looks={plan.looks!r}: expected one of {', '.join(get_args(Looks))}")
    if not isinstance(plan.reference, str) or not _is_arm(plan.reference):
        raise UserError(
            f"{place}: reference={plan.reference!r}: expected a variant with settings, one value each, such as "
            "`lora rank=16`"
        )
    return plan


def write_plan(plan: Plan, store: Store) -> None:
    """Settle a plan before the first run of a table.

    Raises:
        UserError: another one is settled already.
    """
    path = plan_file(store)
    if path.exists():
        if read_plan(store) != plan:
            raise UserError(
                f"{path} settles another plan; a family that is chosen after the results are seen holds nothing: keep "
                "it, or give other --results"
            )
        return
    with atomically(path) as partial:
        partial.write_text(yaml.safe_dump(vars(plan), sort_keys=False), encoding="utf-8")


def settle(store: Store, given: Mapping[str, Any], place: str, looks: Looks | None = None) -> Plan:
    """Settle the plan of a sweep before its first run: what is settled already or by default, but for what is given.

    Args:
        given: values of `Plan`'s fields, as a user wrote them.
        place: where, for messages.
        looks: None for those of the plan that is there, else one.

    Raises:
        UserError: a value is none, the reference names no variant or setting, or another plan is settled already.
    """
    plan = checked_plan({**vars(read_plan(store)), **given}, place)
    try:
        expand(*parse_words(plan.reference.split()))
    except UserError as error:
        raise UserError(f"{place}: reference={plan.reference!r}: {error}") from error
    plan = plan if looks is None else replace(plan, looks=looks)
    write_plan(plan, store)
    return plan


def is_reference(record: RunRecord, plan: Plan) -> bool:
    """Whether a run is what the plan's words name."""
    variants, axes = parse_words(plan.reference.split())
    wanted = {ADAPTER_WORDS.get(key, key): values[0] for key, values in axes.items()}
    return record.variant == ALIASES.get(variants[0], variants[0]) and has_settings(record, wanted)


def _is_arm(text: str) -> bool:
    try:
        variants, axes = parse_words(text.split())
    except UserError:
        return False
    return len(variants) == 1 and all(len(values) == 1 for values in axes.values())


class Reference(NamedTuple):
    """The arm that the others are set against."""

    place: int  # in the table
    why: str  # it was taken, where the plan's words fit several; empty where one


def reference_of(arms: Sequence[Arm], plan: Plan) -> Reference | None:
    """The arm that the others are set against; None where the table has none.

    Of several that the plan's words fit, the one with its preset's defaults; where there is none, the one of lowest
    rank, then learning rate, then run id. None of these is a score: a reference that was chosen for its scores would
    flatter itself.
    """
    fitting = [i for i, arm in enumerate(arms) if is_reference(arm.first, plan)]
    if len(fitting) <= 1:
        return Reference(fitting[0], "") if fitting else None
    default = default_among([arms[i] for i in fitting])
    if default is not None:
        return Reference(fitting[default], "with its preset's defaults")
    lowest = min(fitting, key=lambda i: (arms[i].first.rank or 0, arms[i].lr or 0.0, arms[i].first.run_id))
    return Reference(lowest, "of the lowest rank, then learning rate")
