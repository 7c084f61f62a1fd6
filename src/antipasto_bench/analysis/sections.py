"""Sections: the arms of one model and protocol.

Where arms differ in learning rate alone, a section has the one that validation chose, and beside it what was tried.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..core.errors import UserError
from ..core.places import shown_name, shown_text
from ..spec.selection import CalibrationOf, calibration_among, choose_rate, rate_family
from ..store.evidence import backed, read_results
from ..store.folders import Store
from ..store.record import RunRecord
from ..store.table import read_records
from .arms import Arm, arm_of, label_of, name_of
from .copies import copies_note, distinct

Family = tuple[Hashable, ...]  # what runs share that differ in learning rate and seed alone


class TriedRates(NamedTuple):
    """The learning rates that were tried for an arm."""

    arm: str
    seeds: str  # that all rates have in common
    cells: list[tuple[str, bool]]  # a rate and its validation accuracy, and whether it was chosen
    lost: list[str]  # rates without a result, and why
    end: str

    @property
    def text(self) -> str:
        """All of it in a line."""
        return self.line([text for text, _ in self.cells], self.lost)

    def line(self, cells: Sequence[str], lost: Sequence[str]) -> str:
        return f"{self.arm}, {', '.join([f'{self.seeds}: ' + ', '.join(cells), *lost])}{self.end}"


@dataclass(frozen=True)
class Section:
    """What one table shows."""

    arms: list[Arm]  # the best first
    rates: list[list[Arm]]  # of each family that was tried at several learning rates: all of its arms, by rate
    records: list[RunRecord]  # of every run that was trained or scored so, chosen or not
    tried: list[TriedRates]  # of each arm whose learning rate was chosen
    protocol: str
    copies: str = ""  # a sentence on rows that are left out, since they are runs that are counted already
    model: str = ""  # its name, with the beginning of its digest where other models of the table share the name


def sections(store: Store) -> list[Section]:
    """One for each model and protocol that runs were recorded under; the order of the table's lines does not matter.

    Raises:
        UserError: no run has finished, or none whose questions are whole, or two seeds of one setting were scored on
            different questions.
    """
    recorded = read_results(store)
    whole = backed(_finished(recorded, store), store)
    if not whole:
        raise UserError(f"{store.results} holds no run whose questions are whole; see `antipasto-bench results verify`")
    records, copies = distinct(whole)
    names = model_names(records)
    lost = _lost(recorded)
    unnamed = [_section(members, protocol, lost, store) for protocol, members in _groups(records)]
    return [
        replace(
            section,
            copies=copies_note(copies, section.records),
            model=names[section.records[0].run_id],
        )
        for section in unnamed
    ]


def model_names(records: Sequence[RunRecord]) -> dict[str, str]:
    """The name of each run's model, by run id; with the beginning of its digest where two models share a name."""
    sources = {record.run_id: _source(record) for record in records}
    of_name: dict[str, set[str]] = {}
    for record in records:
        of_name.setdefault(shown_name(record.model), set()).add(sources[record.run_id])
    names = {}
    for record in records:
        name, source = shown_name(record.model), sources[record.run_id]
        digest = source.partition("sha256:")[2][:8]
        names[record.run_id] = f"{name} (sha256 {digest})" if len(of_name[name]) > 1 and digest else name
    return names


def slug(text: str) -> str:
    """A text as a part of file names and links."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".") or "-"


def _source(record: RunRecord) -> str:
    model = None if record.provenance is None else record.provenance.model
    return "" if model is None else model.source


def finished(store: Store) -> list[RunRecord]:
    """Every run with a result, by run id.

    Raises:
        UserError: there is none.
    """
    return _finished(read_results(store), store)


def at_chosen_rates(records: Sequence[RunRecord], store: Store) -> list[RunRecord]:
    """The runs that the tables show: whole, counted once, and at the learning rate that validation chose.

    Args:
        records: `finished` ones.
    """
    counted, _ = distinct(backed(records, store))
    lost = _lost(read_records(store.table))
    return [record for _, members in _groups(counted) for record in _chosen_rates(members, lost)[0]]


def _lost(recorded: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs that the machine failed."""
    return [record for record in recorded if record.status == "failed" and record.failed_by == "machine"]


def _groups(records: Sequence[RunRecord]) -> list[tuple[str, list[RunRecord]]]:
    """The runs of each table, with its protocol; untuned runs are in each whose runs are scored as they are."""
    trained = [record for record in records if not record.untuned]
    untuned_runs = {record.scoring: record for record in records if record.untuned}
    models = {record.protocol: record.model for record in records}
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in trained:
        groups.setdefault((models[record.protocol], record.protocol), []).append(record)
    for scoring, run in untuned_runs.items():
        if not any(scoring == record.scoring for record in trained):
            groups[(run.model, run.protocol)] = []  # a model that nothing was trained on yet
    complete = []
    for model, protocol in sorted(groups):
        members = groups[model, protocol]
        scorings = {record.scoring for record in members}
        untuned = [run for run in untuned_runs.values() if run.scoring in scorings or run.protocol == protocol]
        complete.append((protocol, [*untuned, *members]))
    return complete


def _finished(records: Sequence[RunRecord], store: Store) -> list[RunRecord]:
    done = [record for record in records if record.status == "ok"]
    if not done:
        failed = f" ({len(records)} failed; antipasto-bench list says why)" if records else ""
        raise UserError(f"{store.table} holds no finished run yet{failed}; make one with: antipasto-bench demo")
    return sorted(done, key=lambda record: record.run_id)  # whatever order the file has them in


def _section(records: list[RunRecord], protocol: str, lost: list[RunRecord], store: Store) -> Section:
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


def _families(records: Sequence[RunRecord], calibration: CalibrationOf | None = None) -> dict[Family, list[RunRecord]]:
    calibration = calibration or calibration_among(record.config for record in records)
    families: dict[Family, list[RunRecord]] = {}
    for record in records:
        families.setdefault(rate_family(record.protocol, record.config, calibration), []).append(record)
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


def _chosen_rates(records: list[RunRecord], lost: list[RunRecord]) -> tuple[list[RunRecord], list[TriedRates]]:
    """The records at each family's chosen learning rate, and a line for each on the rates that were tried.

    Args:
        lost: runs that the machine failed. Where a rate has no other, none is chosen: it may be the best.
    """
    shown: list[RunRecord] = []
    lines = []
    calibration = calibration_among(record.config for record in [*records, *lost])
    lost_of = _families(lost, calibration)
    for family, members in _families(records, calibration).items():
        scores: dict[float, dict[int, float | None]] = {}  # by rate and seed; empty where nothing is trained
        for record in members:
            if record.lr is not None and record.seed is not None:
                scores.setdefault(record.lr, {})[record.seed] = record.valid_accuracy
        without = {record.lr: record for record in lost_of.get(family, ()) if record.lr not in (*scores, None)}
        best = choose_rate(scores) if len(scores) > 1 and not without else None
        shown += [record for record in members if best is None or record.lr == best]
        if best is not None or without:
            end = "; no rate is chosen until it has one" if without else ""
            end = "; no rate is chosen until they have one" if len(without) > 1 else end
            seeds, cells = _rates(scores, best)
            name = name_of(label_of(members[0], records), members[0])
            lines.append(TriedRates(name, seeds, cells, [*map(_lost_rate, without.values())], end))
    return shown, sorted(lines, key=lambda tried: tried.text)


def _lost_rate(record: RunRecord) -> str:
    return f"{record.lr:g}: no result, its run failed on the machine ({shown_text(str(record.error))})"


def _rates(scores: dict[float, dict[int, float | None]], best: float | None) -> tuple[str, list[tuple[str, bool]]]:
    """The seeds that all rates share, and the validation accuracy at each rate over them; True for the best rate."""
    shared = sorted(set.intersection(*(set(by_seed) for by_seed in scores.values())))
    cells = []
    for lr, by_seed in sorted(scores.items()):
        values = [100 * value for seed in shared if (value := by_seed[seed]) is not None]
        absent = "not validated" if shared else "not validated on a shared seed"
        mean = f"{sum(values) / len(values):.1f}" if shared and len(values) == len(shared) else absent
        cells.append((f"{lr:g}: {mean}", lr == best))
    return f"seed{'s' if len(shared) != 1 else ''} {', '.join(map(str, shared))}", cells
