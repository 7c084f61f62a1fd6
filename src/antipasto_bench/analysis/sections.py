"""Sections: the arms of one model and protocol.

Where arms differ in learning rate alone, a section has the one that validation chose, and beside it what was tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from ..core.errors import UserError
from ..spec.selection import choose_rate, rate_family
from ..store.evidence import backed, read_results
from ..store.folders import Store
from ..store.record import RunRecord
from ..store.table import read_records
from .arms import Arm, arm_of, label_of, name_of

Family = tuple[Hashable, ...]  # what runs share that differ in learning rate and seed alone


@dataclass(frozen=True)
class Section:
    """What one table shows."""

    arms: list[Arm]  # the best first
    rates: list[list[Arm]]  # of each family that was tried at several learning rates: all of its arms, by rate
    records: list[RunRecord]  # of every run that was trained or scored so, chosen or not
    tried: list[str]  # a line for each arm whose learning rate was chosen
    protocol: str


def sections(store: Store) -> list[Section]:
    """One for each model and protocol that runs were recorded under; the order of the table's lines does not matter.

    Raises:
        UserError: no run has finished, or none whose questions are whole, or two seeds of one setting were scored on
            different questions.
    """
    records = backed(finished(store), store)
    if not records:
        raise UserError(f"{store.results} holds no run whose questions are whole; see `antipasto-bench results verify`")
    lost = [record for record in read_records(store.table) if record.status == "failed"]
    lost = [record for record in lost if record.failed_by == "machine"]
    trained = [record for record in records if not record.untuned]
    untuned_runs = {record.scoring: record for record in records if record.untuned}
    models = {record.protocol: record.model for record in records}
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in trained:
        groups.setdefault((models[record.protocol], record.protocol), []).append(record)
    for scoring, untuned in untuned_runs.items():
        if not any(scoring == record.scoring for record in trained):
            groups[(untuned.model, untuned.protocol)] = []  # a model that nothing was trained on yet
    return [_section(groups[key], key[1], untuned_runs, lost, store) for key in sorted(groups)]


def finished(store: Store) -> list[RunRecord]:
    """Every run with a result, by run id.

    Raises:
        UserError: there is none.
    """
    records = read_results(store)
    done = [record for record in records if record.status == "ok"]
    if not done:
        failed = f" ({len(records)} failed; antipasto-bench list says why)" if records else ""
        raise UserError(f"{store.table} holds no finished run yet{failed}; make one with: antipasto-bench demo")
    return sorted(done, key=lambda record: record.run_id)  # whatever order the file has them in


def _section(
    trained: list[RunRecord], protocol: str, untuned_runs: dict[str, RunRecord], lost: list[RunRecord], store: Store
) -> Section:
    scorings = {record.scoring for record in trained}
    untuned = [run for run in untuned_runs.values() if run.scoring in scorings or run.protocol == protocol]
    records = [*untuned, *trained]
    shown, tried = _chosen_rates(records, lost)
    by_arm: dict[str, list[RunRecord]] = {}
    for record in shown:
        by_arm.setdefault(record.arm, []).append(record)
    arms = [arm_of(members, records, store) for members in by_arm.values()]
    count = Counter(arm.name for arm in arms)
    arms = [
        replace(arm, label=f"{arm.label} lr={arm.lr:g}") if count[arm.name] > 1 and arm.lr else arm for arm in arms
    ]  # several rates, and no validation to choose one
    arms.sort(key=_best_first)
    return Section(arms, _tried_rates(records, arms, store), records, tried, protocol)


def _best_first(arm: Arm) -> tuple[float, str, list[str]]:
    return -float(arm.scores.mean()), arm.label, [str(value) for _, value in sorted(arm.first.config.adapter.items())]


def _families(records: Sequence[RunRecord]) -> dict[Family, list[RunRecord]]:
    families: dict[Family, list[RunRecord]] = {}
    for record in records:
        families.setdefault(rate_family(record.protocol, record.config), []).append(record)
    return families


def _tried_rates(records: list[RunRecord], shown: list[Arm], store: Store) -> list[list[Arm]]:
    """The arms of each family that has several."""
    ready = {arm.first.arm: arm for arm in shown}
    families = []
    for members in _families(records).values():
        by_arm: dict[str, list[RunRecord]] = {}
        for record in members:
            by_arm.setdefault(record.arm, []).append(record)
        if len(by_arm) > 1:
            arms = [ready.get(digest) or arm_of(seeds, records, store) for digest, seeds in by_arm.items()]
            families.append(sorted(arms, key=lambda arm: arm.lr or 0))
    return sorted(families, key=lambda arms: (arms[0].label, arms[0].first.rank or 0, arms[0].first.run_id))


def _chosen_rates(records: list[RunRecord], lost: list[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """The records at each family's chosen learning rate, and a line for each on the rates that were tried.

    Args:
        lost: runs that the machine failed. Where a rate has no other, none is chosen: it may be the best.
    """
    shown: list[RunRecord] = []
    lines = []
    lost_of = _families(lost)
    for family, members in _families(records).items():
        scores: dict[float, dict[int, float | None]] = {}  # by rate and seed; empty where nothing is trained
        for record in members:
            if record.lr is not None and record.seed is not None:
                scores.setdefault(record.lr, {})[record.seed] = record.valid_accuracy
        without = {record.lr: record for record in lost_of.get(family, ()) if record.lr not in (*scores, None)}
        best = choose_rate(scores) if len(scores) > 1 and not without else None
        shown += [record for record in members if best is None or record.lr == best]
        if best is not None or without:
            line = ", ".join([_rates_line(scores, best), *map(_lost_rate, without.values())])
            end = (
                "; no rate is chosen until they have one"
                if len(without) > 1
                else "; no rate is chosen until it has one"
            )
            lines.append(f"- {name_of(label_of(members[0], records), members[0])}, {line}{end if without else ''}")
    return shown, sorted(lines)


def _lost_rate(record: RunRecord) -> str:
    return f"{record.lr:g}: no result, its run failed on the machine ({record.error})"


def _rates_line(scores: dict[float, dict[int, float | None]], best: float | None) -> str:
    """Validation accuracy at each rate, over the seeds that all rates share."""
    shared = sorted(set.intersection(*(set(by_seed) for by_seed in scores.values())))
    cells = []
    for lr, by_seed in sorted(scores.items()):
        values = [100 * (by_seed[seed] or 0) for seed in shared]
        mean = f"{sum(values) / len(values):.1f}" if values else "not validated on a shared seed"
        cells.append(f"**{lr:g}: {mean}**" if lr == best else f"{lr:g}: {mean}")
    return f"seed{'s' if len(shared) != 1 else ''} {', '.join(map(str, shared))}: {', '.join(cells)}"
