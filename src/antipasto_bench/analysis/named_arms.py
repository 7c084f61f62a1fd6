"""The arm that a user's words mean: a run by its name, or the seeds of one setting, as in `lora lr=1e-2`.

Where words fit several arms, the one is taken whose settings are the defaults of its preset, and a line says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel

import antipasto
from antipasto.config import ALIASES

from ..core.errors import UserError
from ..core.json_types import Json
from ..core.places import recorded_name
from ..spec.compose import DEFAULT_PRESET, compose
from ..spec.config import ADAPTER_WORDS, BASE, SCORING_VERSION, DataConfig, EvalConfig, RunConfig
from ..spec.grammar import parse_words
from ..spec.identity import counts_of
from ..spec.methods.peft_types import is_peft
from ..spec.presets import adapter_default, given_by_files, run_default
from ..spec.references import PLACES
from ..store.evidence import backed
from ..store.folders import Store
from ..store.outcomes import diverged_runs
from ..store.record import RunRecord
from ..store.run_names import run_named
from ..store.settings import has_settings, settings_of
from ..store.table import read_records
from .arms import Arm, Runs, arm_of, by_arm, compact
from .copies import distinct

WORDS = {name: word for word, name in ADAPTER_WORDS.items()}  # what users type for an adapter's own fields


class NamedArm(NamedTuple):
    arm: Arm
    chosen: str | None  # a line that says why it was taken, where the words fit others too


def arm_named(text: str, records: Sequence[RunRecord], shown: Callable[[], Sequence[Runs]], store: Store) -> NamedArm:
    """The arm or run that a text names.

    Args:
        records: every run with a result.
        shown: gives the arms that the report's tables show.
        text: a run's name (`store/run_names.py`), or a variant with settings, one value each.

    Raises:
        UserError: there is none, or there are several and no rule to choose one.
    """
    by_id = [record for record in records if record.run_id == text]
    if by_id:
        return NamedArm(arm_of(Runs(_backed(by_id, text, store), []), records, store), None)
    variants, axes = parse_words(text.split())
    if len(variants) == 1 and not axes and not _is_variant(variants[0], records):
        one = [run_named(text.strip(), records, store.table)]
        return NamedArm(arm_of(Runs(_backed(one, text, store), []), records, store), None)
    if len(variants) != 1 or any(len(values) != 1 for values in axes.values()):
        raise UserError(f"cannot read {text!r}; write a run id, or one variant with settings, such as 'lora lr=1e-2'")
    wanted = {ADAPTER_WORDS.get(key, key): _as_recorded(key, values[0]) for key, values in axes.items()}
    variant = ALIASES.get(variants[0], variants[0])
    own = [runs for runs in _arms(wanted, records, shown, store) if runs.finished[0].variant == variant]
    matching = _whole([_matching(runs, wanted) for runs in own], text, store)
    if not matching:
        raise UserError(f"no finished run is {text!r}; `antipasto-bench list` shows them all")
    peers = [record for runs in matching for record in runs.finished]
    arms = [arm_of(runs, peers, store) for runs in matching]
    return NamedArm(arms[0], None) if len(arms) == 1 else _of_several(text, arms)


def _arms(
    wanted: Mapping[str, Any], records: Sequence[RunRecord], shown: Callable[[], Sequence[Runs]], store: Store
) -> list[Runs]:
    """The arms among which settings look.

    Those that the report shows are of the runs that it averages, or of all their runs where the settings name a seed.
    Others are there where the settings name a learning rate.
    """
    counted, _ = distinct(records)
    every = by_arm(counted, diverged_runs(read_records(store.table)))
    tables = {runs.finished[0].arm: runs for runs in shown()}
    if "lr" not in wanted:
        every = [runs for runs in every if runs.finished[0].arm in tables]
    return every if "seed" in wanted else [tables.get(runs.finished[0].arm, runs) for runs in every]


def _matching(runs: Runs, wanted: Mapping[str, Any]) -> Runs:
    """The runs of an arm that have some settings."""
    finished, diverged = (
        [record for record in members if has_settings(record, wanted)] for members in (runs.finished, runs.diverged)
    )
    return runs._replace(finished=finished, diverged=diverged)


def _whole(arms: Sequence[Runs], text: str, store: Store) -> list[Runs]:
    """The arms with those of their finished runs whose questions are whole, where they have one.

    Raises:
        UserError: there are finished runs, and none is.
    """
    finished = [record for runs in arms for record in runs.finished]
    whole = {record.run_id for record in _backed(finished, text, store)} if finished else set()
    kept = [runs._replace(finished=[record for record in runs.finished if record.run_id in whole]) for runs in arms]
    return [runs for runs in kept if runs.finished]


def _is_variant(word: str, records: Sequence[RunRecord]) -> bool:
    """Whether a word is the name of a variant, recorded or not."""
    # The library's own are asked last: most words are recorded ones, or parts of an id.
    recorded = {BASE, *ALIASES, *(record.variant for record in records)}
    is_part = any(word in (record.run_id[: len(word)], record.run_id[-len(word) :]) for record in records)
    return word in recorded or (not is_part and word in antipasto.CONFIGS)


def _backed(records: Sequence[RunRecord], text: str, store: Store) -> list[RunRecord]:
    """Those whose questions are whole.

    Raises:
        UserError: none is.
    """
    whole = backed(records, store)
    if not whole:
        raise UserError(f"the questions of {text!r} are damaged; restore them, or run it again")
    return whole


def _as_recorded(key: str, value: Any) -> Any:
    """The value of a setting that can name a file, by the name that a record has; any other as it is."""
    return recorded_name(value) if key in PLACES and isinstance(value, str) else value


def _of_several(text: str, arms: Sequence[Arm]) -> NamedArm:
    """The arm with its preset's defaults wherever the arms differ; that of `DEFAULT_PRESET` before others.

    Raises:
        UserError: none is, or several are.
    """
    apart = _differences(arms)
    # Those of today's rules first, which alone can be the default: of older ones no other setting has to be asked.
    today = [arm for arm in arms if arm.first.config.eval.version == SCORING_VERSION] or list(arms)
    asked = list(_differences(today))
    candidates = _with_defaults(today, [key for key in asked if key != "lr"])
    if len(candidates) > 1:  # rates that validation did not choose from
        candidates = _with_defaults(candidates, asked)
    if len(today) == 1:  # _with_defaults asks for a setting at least
        candidates = today
    if len(candidates) != 1:
        named = ", ".join(arm.name for arm in arms)
        raise UserError(f"{text!r} names {len(arms)} arms ({named}); add a setting: {_typed(apart, arms)}")
    (arm,) = candidates
    own = settings_of(arm.first)
    others = {key: [value for value in values if value != compact(own.get(key))] for key, values in apart.items()}
    return NamedArm(
        arm,
        f"{text!r} fits {len(arms)} arms; taken: {arm.name}, with the defaults of preset {arm.first.config.preset}. "
        f"For another add {_typed(others, arms)}",
    )


def _with_defaults(arms: Sequence[Arm], settings: Sequence[str]) -> list[Arm]:
    """Those with the defaults of their preset in some settings: of `DEFAULT_PRESET`, or else of any other."""
    read = cache(given_by_files)
    first = [arm for arm in arms if arm.first.config.preset == DEFAULT_PRESET]
    others = [arm for arm in arms if arm.first.config.preset != DEFAULT_PRESET]
    of_default_preset = [arm for arm in first if _is_by_default(arm.first, settings, read)]
    return of_default_preset or [arm for arm in others if _is_by_default(arm.first, settings, read)]


def default_among(arms: Sequence[Arm]) -> int | None:
    """Which of some arms has its preset's defaults wherever they differ; None where not exactly one has."""
    apart = [key for key in _differences(arms) if key != "lr"]
    read = cache(given_by_files)
    fitting = [i for i, arm in enumerate(arms) if _is_by_default(arm.first, apart, read)]
    return fitting[0] if len(fitting) == 1 else None


def _differences(arms: Sequence[Arm]) -> dict[str, list[str]]:
    """The settings in which arms differ, each with its values; the learning rate only where no other tells them apart.

    Settings that no run id depends on are none of them.
    """
    settings = [settings_of(arm.first) for arm in arms]
    different = {}
    for key in dict.fromkeys(key for own in settings for key in own):
        values = list(dict.fromkeys(compact(own.get(key)) for own in settings))
        if len(values) > 1 and key not in ("adapter", "protocol", "seed") and not _is_beside_identity(key):
            different[key] = values
    others = [key for key in different if key != "lr"]
    if len({tuple(compact(own.get(key)) for key in others) for own in settings}) == len(arms):
        different.pop("lr", None)
    return different


def _is_beside_identity(key: str) -> bool:
    """Whether a setting, named as users type it, is no part of a run's id."""
    sections: dict[str, type[BaseModel]] = {"data": DataConfig, "eval": EvalConfig}
    section, dot, name = key.partition(".")
    fields = RunConfig.model_fields if not dot else sections[section].model_fields if section in sections else {}
    field = fields.get(name if dot else key)  # a row can have a setting of any name
    return field is not None and not counts_of(field).identity


def _is_by_default(record: RunRecord, settings: Sequence[str], read: Callable[..., Json]) -> bool:
    """Whether a run has the values of some settings that its preset has today.

    Args:
        read: `given_by_files`, which may remember what it has read.
    """
    if not settings:
        return False
    own = settings_of(record)
    try:
        known = _defaults_in_files(record, settings, read)
        if any(compact(own.get(key)) != compact(value) for key, value in known.items()):
            return False
        unknown = [key for key in settings if key not in known]
        if not unknown:
            return True
        if is_peft(record.variant):
            return False  # no report imports PEFT, which alone knows its defaults
        default = compose(record.variant, {}, record.config.preset)
        values = settings_of(RunRecord.of(default, default.run_id))
    except UserError:  # a preset that is not here any more
        return False
    return all(compact(own.get(key)) == compact(values.get(key)) for key in unknown)


def _defaults_in_files(record: RunRecord, settings: Sequence[str], read: Callable[..., Json]) -> Mapping[str, Any]:
    """What some settings are by default today, of those of which it is known without the variant's class.

    Of an adapter's own settings those that it has recorded, and so uses, are read from the
    files; the rank only where the run has one.
    """
    own = record.config.adapter
    given = read(record.variant, record.config.preset, frozen_basis="basis" in own)  # of that family alone
    values: dict[str, Any] = {}
    for key in settings:
        if key in own:
            value = adapter_default(key, given)
            # Of a word, as `full` for a rank, the variant's class can make something that is none; what it records as
            # a word, it has taken as it stands.
            is_sure = not isinstance(value, str) or isinstance(own[key], str)
            if value is not None and is_sure and (key != "r" or record.rank is not None):
                values[key] = value
        elif (default := run_default(key, given)) is not None:
            values[key] = _as_recorded(key, default[0])
    return values


def _typed(settings: Mapping[str, Sequence[str]], arms: Sequence[Arm]) -> str:
    """Settings with their values, as a user types them."""
    protocols = "|".join(dict.fromkeys(arm.first.protocol for arm in arms))
    words = [f"{WORDS.get(key, key)}={'|'.join(values)}" for key, values in settings.items()]
    return ", ".join(words) or f"protocol={protocols}"
