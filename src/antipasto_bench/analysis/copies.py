"""Rows that are one run: counted once, since a copy of a run says nothing of seeds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from ..store.record import RunRecord

NAMED = 3  # of the rows that are left out


class Copy(NamedTuple):
    """A row that is left out, and the row that counts."""

    left_out: RunRecord
    counted: RunRecord
    why: str  # what both have in common


def distinct(records: Sequence[RunRecord]) -> tuple[list[RunRecord], list[Copy]]:
    """The records that count, and those that are left out since another one is the same run.

    Two rows of an arm are the same run where their seed is the same (the model lies in folders of several names), or
    where seeds differ and yet the adapter's file is the same, byte for byte, or all answers and training losses are.

    Args:
        records: of finished runs; the first of several that are the same counts.
    """
    counted: list[RunRecord] = []
    copies: list[Copy] = []
    first: dict[Hashable, RunRecord] = {}
    for record in records:
        signs = _signs(record)
        same = next(((first[key], why) for key, why in signs.items() if key in first), None)
        for key in signs:
            first.setdefault(key, record if same is None else same[0])
        if same is None:
            counted.append(record)
        else:
            copies.append(Copy(record, *same))
    return counted, copies


def _signs(record: RunRecord) -> dict[Hashable, str]:
    """What no two different runs share, each with its words."""
    signs: dict[Hashable, str] = {(record.arm, "seed", record.seed): "the same settings, seed and content of the model"}
    if record.adapter_sha256 is not None:
        signs[record.arm, "adapter", record.adapter_sha256] = "the same adapter"
    losses = record.first_loss, record.last_loss, record.mean_grad_norm
    if record.items_sha256 is not None and None not in losses:
        signs[record.arm, "answers", record.items_sha256, losses] = "the same answers and training losses"
    return signs


def copies_note(copies: Sequence[Copy], counted: Sequence[RunRecord]) -> str:
    """A sentence on the rows that are left out beside some that count; empty where none is."""
    ids = {record.run_id for record in counted}
    here = [copy for copy in copies if copy.counted.run_id in ids]
    if not here:
        return ""
    listed = [f"{copy.left_out.run_id} is {copy.counted.run_id} ({copy.why})" for copy in here[:NAMED]]
    more = f"; and {len(here) - NAMED} more" if len(here) > NAMED else ""
    return f"Copies of a run count once: {'; '.join(listed)}{more}."


def same_run_note(a: Sequence[RunRecord], b: Sequence[RunRecord]) -> str:
    """A sentence where two arms that are compared have a run in common; empty where they have none."""
    for own in a:
        _, copies = distinct([own, *b])
        if copies and copies[0].counted is own:
            other = copies[0].left_out.run_id
            copy = "" if other == own.run_id else f" and {other} ({copies[0].why})"
            return f"A and B have a run in common: {own.run_id}{copy}."
    return ""
