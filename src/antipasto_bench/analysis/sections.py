"""Sections: the arms of one model and protocol.

Where arms differ in learning rate alone, a section has the one that a search found or validation chose, and beside it
what was tried.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..core.errors import UserError
from ..core.places import shown_name, shown_text
from ..store.evidence import backed, read_results
from ..store.folders import Store
from ..store.outcomes import diverged_runs, lost_runs
from ..store.record import RunRecord
from ..store.table import read_records
from ..store.trials import read_trials
from .arms import Arm, Runs, arm_of, label_of, name_of
from .choosing import RateFamily, rate_families
from .copies import copies_note, distinct
from .found_rates import FoundRate, FoundRates


class TriedRates(NamedTuple):
    """The learning rates that were tried for an arm."""

    arm: str
    seed: str  # that chose, or would have chosen
    cells: list[tuple[str, bool]]  # a rate and its validation accuracy, and whether it was chosen
    lost: list[str]  # rates without a result, and why
    end: str
    rates: tuple[float, ...]  # that have an outcome, ascending
    chosen: float | None  # None while one has none
    searched: bool = False  # by a search of its own, and not among these

    @property
    def text(self) -> str:
        """All of it in a line."""
        return self.line([text for text, _ in self.cells], self.lost)

    def line(self, cells: Sequence[str], lost: Sequence[str]) -> str:
        return f"{self.arm}, {', '.join([f'{self.seed}: ' + ', '.join(cells), *lost])}{self.end}"


@dataclass(frozen=True)
class Section:
    """What one table shows."""

    arms: list[Arm]  # the best first
    rates: list[list[Arm]]  # of each family that was tried at several learning rates: all of its arms, by rate
    records: list[RunRecord]  # of every finished run that was trained or scored so, chosen or not
    tried: list[TriedRates]  # of each arm whose learning rate was chosen
    protocol: str
    copies: str = ""  # a sentence on rows that are left out, since they are runs that are counted already
    diverged: list[RunRecord] = field(default_factory=list)  # of every run that ended non-finite, chosen or not
    searched: dict[str, FoundRate] = field(default_factory=dict)  # by arm, of those at the rate that a search found
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
    lost = lost_runs(recorded)
    found = _found_rates(recorded, store)
    unnamed = [_section(group, lost, found, store) for group in _groups(records, diverged_runs(recorded))]
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


def at_chosen_rates(records: Sequence[RunRecord], store: Store) -> list[Runs]:
    """The runs of each arm that the tables show: whole, counted once, and at the learning rate that was chosen.

    Args:
        records: `finished` ones.
    """
    counted, _ = distinct(backed(records, store))
    recorded = read_records(store.table)
    found = _found_rates(recorded, store)
    return [
        runs
        for group in _groups(counted, diverged_runs(recorded))
        for family in rate_families(group.finished, group.diverged, lost_runs(recorded), found)
        for runs in family.chosen
    ]


def _found_rates(recorded: Sequence[RunRecord], store: Store) -> Callable[[RunRecord], FoundRate | None]:
    return FoundRates(read_trials(store), (record.config for record in recorded)).of


class _Group(NamedTuple):
    """The runs of one table."""

    protocol: str
    finished: list[RunRecord]
    diverged: list[RunRecord]


def _groups(records: Sequence[RunRecord], diverged: Sequence[RunRecord]) -> list[_Group]:
    """The runs of each table; untuned runs are in each whose runs are scored as they are."""
    trained = [record for record in records if not record.untuned]
    attempted = [*trained, *diverged]
    untuned_runs = {record.scoring: record for record in records if record.untuned}
    models = {record.protocol: record.model for record in [*diverged, *records]}
    groups: dict[tuple[str, str], tuple[list[RunRecord], list[RunRecord]]] = {}
    for members, place in ((trained, 0), (diverged, 1)):
        for record in members:
            groups.setdefault((models[record.protocol], record.protocol), ([], []))[place].append(record)
    for scoring, run in untuned_runs.items():
        if not any(scoring == record.scoring for record in attempted):
            groups[run.model, run.protocol] = [], []  # a model that nothing was trained on yet
    complete = []
    for model, protocol in sorted(groups):
        finished, lost = groups[model, protocol]
        scorings = {record.scoring for record in [*finished, *lost]}
        untuned = [run for run in untuned_runs.values() if run.scoring in scorings or run.protocol == protocol]
        if untuned or finished:
            complete.append(_Group(protocol, [*untuned, *finished], lost))
    return complete


def _finished(records: Sequence[RunRecord], store: Store) -> list[RunRecord]:
    done = [record for record in records if record.status == "ok"]
    if not done:
        failed = f" ({len(records)} failed; antipasto-bench list says why)" if records else ""
        raise UserError(f"{store.table} holds no finished run yet{failed}; make one with: antipasto-bench demo")
    return sorted(done, key=lambda record: record.run_id)  # whatever order the file has them in


def _section(
    group: _Group, lost: list[RunRecord], found: Callable[[RunRecord], FoundRate | None], store: Store
) -> Section:
    records = group.finished
    families = rate_families(records, group.diverged, lost, found)
    arms = [arm_of(runs, records, store) for family in families for runs in family.chosen]
    searched = {
        runs.finished[0].arm: family.found
        for family in families
        for runs in family.at_found
        if family.found is not None
    }
    count = Counter(arm.name for arm in arms)
    arms = [
        replace(arm, label=f"{arm.label} lr={arm.lr:g}") if count[arm.name] > 1 and arm.lr else arm for arm in arms
    ]  # several rates, and no validation to choose one
    arms.sort(key=_best_first)
    tried = [line for family in families if (line := _tried(family, records)) is not None]
    return Section(
        arms,
        _every_rate(families, arms, records, store),
        records,
        sorted(tried, key=lambda line: line.text),
        group.protocol,
        diverged=group.diverged,
        searched=searched,
    )


def _best_first(arm: Arm) -> tuple[float, str, list[str]]:
    settings = arm.first.config.arm_settings
    return -float(arm.scores.mean()), arm.label, [str(value) for _, value in sorted(settings.items())]


def _every_rate(
    families: Sequence[RateFamily], shown: Sequence[Arm], records: Sequence[RunRecord], store: Store
) -> list[list[Arm]]:
    """The arms of each family that has several, each of all its seeds: among them nothing is chosen."""
    ready = {arm.first.arm: arm for arm in shown if arm.chosen_on is None}
    several = [
        [ready.get(runs.finished[0].arm) or arm_of(runs, records, store) for runs in family.arms]
        for family in families
        if len(family.arms) > 1
    ]
    by_rate = [sorted(arms, key=lambda arm: arm.lr or 0) for arms in several]
    return sorted(by_rate, key=lambda arms: (arms[0].label, arms[0].first.rank or 0, arms[0].first.run_id))


def _tried(family: RateFamily, peers: Sequence[RunRecord]) -> TriedRates | None:
    """The rates that were tried; None where nothing was chosen, and nothing keeps from choosing."""
    lost, found = family.lost, family.found if family.at_found else None
    if not lost and (family.lr is None or len(family.tried) < 2):
        return None
    end = f"; no rate is chosen until {'they have' if len(lost) > 1 else 'it has'} one" if lost else ""
    if found is not None:
        end = f"; {found.lr:g} is what {found.trials} trials of `tune` on other seeds found by held-out loss"
    seed, cells = family.cells()
    first = family.finished[0]
    return TriedRates(
        name_of(label_of(first, peers), first),
        "no seed of all" if seed is None else f"seed {seed}",
        cells,
        [*map(_lost_rate, lost.values())],
        end,
        tuple(sorted(family.tried)),
        family.lr,
        found is not None,
    )


def _lost_rate(record: RunRecord) -> str:
    return f"{record.lr:g}: no result, its run failed on the machine ({shown_text(str(record.error))})"
