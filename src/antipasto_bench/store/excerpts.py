"""What is kept of a run beside its row: how its loss fell, and a few of its answers, right and wrong.

Small enough to be versioned with the results; the whole log and every sample stay in outputs/.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.files import write_json
from .folders import Store

POINTS = 60  # of the learning curve
ANSWERS = 3  # right ones, and as many wrong


def keep(folder: Path, store: Store, run_id: str) -> None:
    """Write a run's dossier from the log and the samples in its folder."""
    log = folder / "log.jsonl"
    write_json(
        store.dossier(run_id),
        {
            "curve": curve(_lines(log)) if log.exists() else [],
            "answers": answers(_lines(folder / "samples.jsonl")),
        },
    )


def curve(steps: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Mean loss and gradient norm over at most POINTS stretches of the steps, each named by its last step."""
    steps = list(steps)
    width = max(1, -(-len(steps) // POINTS))
    parts = [steps[i : i + width] for i in range(0, len(steps), width)]
    return [
        {"step": part[-1]["step"]}
        | {name: round(sum(step[name] for step in part) / len(part), 5) for name in ("loss", "grad_norm")}
        for part in parts
    ]


def answers(samples: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A few test questions with the right answer and the model's: the first of each kind in the order of their hash."""
    seen: dict[str, dict[str, Any]] = {}
    for sample in samples:
        if sample["split"] == "test":
            score = next((sample[m] for m in ("exact_match", "acc") if m in sample), None)
            entry = seen.setdefault(sample["sha1"], {"right": False} | {k: sample[k] for k in _TEXTS if k in sample})
            entry["right"] = entry["right"] or bool(score)
    ordered = [seen[sha1] for sha1 in sorted(seen)]
    right = [entry for entry in ordered if entry["right"]][:ANSWERS]
    return right + [entry for entry in ordered if not entry["right"]][:ANSWERS]


_TEXTS = ("prompt", "target", "response")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        yield from map(json.loads, file)
