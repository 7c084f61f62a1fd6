"""Two arms, or two runs, on the same questions: how far apart, how sure, and where they differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..spec.config import ADAPTER_WORDS, BASE
from ..spec.grammar import parse_words
from ..store.folders import Store
from ..store.items import items_of
from .arms import Arm, arm_of, finished, sections
from .stats import Comparison, Summary, compare, summarise


@dataclass(frozen=True)
class Duel:
    """A comparison with its questions. Where an arm has several seeds, a question counts as most of them have it."""

    a: Arm
    b: Arm
    found: Comparison
    summaries: tuple[Summary, Summary]
    only_a: list[str]  # sha1 of the questions that A has right and B wrong
    only_b: list[str]


def duel(a: str, b: str, store: Store) -> Duel:
    """Compare what two texts name, each a run id, or a variant with settings as in `lora lr=1e-2`.

    Raises:
        UserError: one of them names nothing, or several things; or their questions are not the same.
    """
    arms = [select(text, store) for text in (a, b)]
    questions = [_questions(arm, store) for arm in arms]
    if questions[0] != questions[1]:
        raise UserError(f"{a!r} and {b!r} were scored on different questions; compare runs of one table of the report")
    if not all(arm.binary for arm in arms):
        raise UserError("only scores that are right or wrong can be compared question by question")
    found = compare(arms[0].scores, arms[1].scores)
    right = [arm.scores.mean(0) for arm in arms]

    def only(mine: Any, other: Any) -> list[str]:
        return [sha1 for sha1, m, o in zip(questions[0], mine, other, strict=True) if m > 0.5 and o < 0.5]

    summaries = (summarise(arms[0].scores), summarise(arms[1].scores))
    return Duel(arms[0], arms[1], found, summaries, only(right[0], right[1]), only(right[1], right[0]))


def select(text: str, store: Store) -> Arm:
    """The arm or run that a text names.

    Raises:
        UserError: there is none, or more than one.
    """
    rows = finished(store)
    by_id = [row for row in rows if row["run_id"] == text]
    if by_id:
        return arm_of(by_id, rows, store)
    variants, axes = parse_words(text.split())
    if len(variants) != 1 or any(len(values) != 1 for values in axes.values()):
        raise UserError(f"cannot read {text!r}; write a run id, or one variant with settings, such as 'lora lr=1e-2'")
    wanted = {ADAPTER_WORDS.get(key, key): values[0] for key, values in axes.items()}

    def matches(row: dict[str, Any]) -> bool:
        known = row["config"]["adapter"] | {key: row[key] for key in ("model", "protocol", "lr", "seed")}
        known["steps"] = row["config"]["steps"]
        if row["variant"] == BASE:
            known |= {"lr": None, "seed": None}
        return row["variant"] == variants[0] and all(
            key in known and _same(known[key], value) for key, value in wanted.items()
        )

    chosen = [row for row in rows if matches(row)]
    if "lr" not in wanted:  # the one that the report shows
        shown = {row["run_id"] for section in sections(store) for arm in section.arms for row in arm.rows}
        chosen = [row for row in chosen if row["run_id"] in shown]
    arms: dict[str, list[dict[str, Any]]] = {}
    for row in chosen:
        arms.setdefault(row["arm"], []).append(row)
    if not arms:
        raise UserError(f"no finished run is {text!r}; `antipasto-bench list` shows them all")
    found = [arm_of(members, chosen, store) for members in arms.values()]
    if len(found) > 1:
        raise UserError(f"{text!r} names {len(found)} arms ({', '.join(arm.label for arm in found)}); add a setting")
    return found[0]


def answers(duel: Duel, shas: list[str], store: Store) -> list[dict[str, str]]:
    """Question, right answer and both answers, from the samples of each arm's first run.

    Raises:
        UserError: those samples are not on this machine.
    """
    samples = [_samples(arm.rows[0]["run_id"], store) for arm in (duel.a, duel.b)]
    return [
        {
            "prompt": samples[0][sha1]["prompt"],
            "target": samples[0][sha1]["target"],
            "a": samples[0][sha1]["response"],
            "b": samples[1][sha1]["response"],
        }
        for sha1 in shas
    ]


def _samples(run_id: str, store: Store) -> dict[str, dict[str, Any]]:
    path = store.run_dir(run_id) / "samples.jsonl"
    if not path.exists():
        raise UserError(f"{path} is not on this machine: what was answered can be shown only where the run was made")
    with open(path, encoding="utf-8") as file:
        return {sample["sha1"]: sample for sample in map(json.loads, file) if sample["split"] == "test"}


def _questions(arm: Arm, store: Store) -> list[str]:
    items = items_of(arm.rows[0], store, "test").unique("doc_id").sort("doc_id")
    return items["sha1"].to_list()


def _same(known: Any, wanted: Any) -> bool:
    try:
        return bool(np.isclose(float(known), float(wanted), rtol=1e-9, atol=0))
    except (TypeError, ValueError):
        return str(known) == str(wanted)
