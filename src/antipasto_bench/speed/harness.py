"""Speed and memory, measured as ratios within one run, and the page that shows them.

Each suite is a script in benchmark/speed, run in a process of its own. Arms that are compared take turns, so that what
slows the machine slows all of them, and each turn has an order of its own. What is kept is every turn of every arm, the
ratios that the project claims, with their bounds, and where all of it comes from.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..core.errors import UserError
from ..core.install import install_hint
from ..core.paths import benchmark_dir, find_project, project_root
from ..core.provenance import provenance

SUITES = {
    "step": "a training step of every variant, against the base, our lora and peft",
    "layers": "a training step of three blocks of Qwen3-0.6B's shape",
    "compiled": "a training step through torch.compile, against one without it",
    "memory": "bytes kept for the backward pass, by layers alone",
    "kept": "memory of a step of every variant, and of peft: kept for the backward pass, and at its peak",
    "init": "attaching: cold, warm, and from calibration data",
    "growth": "how a step grows with tokens, rows, layers and rank",
    "scoring": "questions a second: merged, hooked, base, by every backend, and a plain generate loop",
    "run": "a whole nano run, against the same run made peft's way",
    "sweep_overhead": "what of a sweep is neither training nor scoring",
    "gpu": "on a GPU: steps, memory and scoring of whole models of published shapes",
}
PAGE = "docs/speed.md"
NOT_HELD = 3  # exit code of a suite of which a claim does not hold


@dataclass(frozen=True)
class Claim:
    """A ratio of two figures of one run, or a count, and what it must not exceed."""

    what: str
    ratio: float
    bound: float
    pairs: list[list[float]] = field(default_factory=list)  # the two figures of every turn, where they are its own

    @property
    def holds(self) -> bool:
        return self.ratio <= self.bound


@dataclass(frozen=True)
class Cell:
    """One arm's figures: a list of what each turn took, or a single count."""

    arm: str
    unit: str
    values: list[float]

    @property
    def middle(self) -> float:
        return median(self.values)


def in_turns(
    arms: Mapping[str, Callable[[], Any]], turns: int, warm_up: int = 2, again: int = 1
) -> dict[str, list[float]]:
    """Milliseconds of every arm in each turn, in an order of its own: what ran before an arm leaves it other caches.

    Args:
        arms: work by name; on a GPU the clock waits for it to end.
        turns: timed ones, after `warm_up` that are not.
        again: how often an arm does its work in a turn. Where more than once, the first time is not counted: it finds
            the caches full of other arms, which work that goes on for hours does not.
    """
    order = Random(0)
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(-warm_up, turns):
        for name in order.sample(list(arms), len(arms)):
            if again > 1:
                arms[name]()
            counted = max(1, again - 1)
            _wait()
            start = time.perf_counter()
            for _ in range(counted):
                arms[name]()
            _wait()
            if turn >= 0:
                times[name].append(1e3 * (time.perf_counter() - start) / counted)
    return times


def duel(ours: Callable[[], Any], theirs: Callable[[], Any], turns: int, bound: float, what: str) -> Claim:
    """Two arms that follow each other at once, so that neither finds the machine other than the other did.

    Which comes first changes from turn to turn. The ratio is the median of the turns' own.
    """
    arms = (ours, theirs)
    pairs = []
    for turn in range(-2, turns):
        spent = [0.0, 0.0]
        for arm in (0, 1) if turn % 2 else (1, 0):
            _wait()
            start = time.perf_counter()
            arms[arm]()
            _wait()
            spent[arm] = 1e3 * (time.perf_counter() - start)
        if turn >= 0:
            pairs.append(spent)
    return _paired(pairs, bound, what)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def by_turns(times: Mapping[str, list[float]], ours: str, theirs: str, bound: float, what: str = "") -> Claim:
    """Of `in_turns`, what one arm took as a share of what the other took in the same turn: the median over turns."""
    pairs = [list(pair) for pair in zip(times[ours], times[theirs], strict=True)]
    return _paired(pairs, bound, what or f"{ours} / {theirs}")


def _paired(pairs: list[list[float]], bound: float, what: str) -> Claim:
    return Claim(what, median(a / b for a, b in pairs), bound, pairs)


def record(suite: str, setting: str, cells: list[Cell], claims: list[Claim], **more: Any) -> int:
    """Write a suite's figures, print what is claimed of them, and return the exit code: 3 where one does not hold."""
    where = provenance(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    found = {
        "suite": suite,
        "what": SUITES[suite],
        "setting": setting,
        "claims": [asdict(claim) | {"holds": claim.holds} for claim in claims],
        "cells": [asdict(cell) | {"median": cell.middle} for cell in cells],
        "provenance": where,
        **more,
    }
    cores = "" if where["device"] == "cuda" else f" {where['cores']} cores"
    folder = re.sub(r"[^A-Za-z0-9]+", "-", f"{where['hardware']}{cores}").strip("-")
    place = project_root() / "results" / "speed" / folder / f"{suite}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(_rounded(found), indent=1) + "\n", encoding="utf-8")
    for cell in cells:
        print(f"{cell.arm:44} {cell.middle:12,.4g} {cell.unit}")
    for claim in claims:
        print(f"{claim.what}: {claim.ratio:.3f}, bound {claim.bound:g}{'' if claim.holds else '  NOT HELD'}")
    print(place)
    return 0 if all(claim.holds for claim in claims) else NOT_HELD


def _rounded(value: Any) -> Any:
    """Five digits are more than a clock is good for."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def measure_suites(names: list[str] | None = None, as_json: bool = False) -> bool:
    """Run suites one after another, each in a process of its own; all of them where none is named.

    Args:
        as_json: print what each found as one line of JSON, instead of a table.

    Returns:
        whether all that is claimed holds.

    Raises:
        UserError: an unknown suite, one that could not be run, or peft is not installed.
    """
    for name in names or []:
        if name not in SUITES:
            raise UserError(f"--suite {name}: no such suite; there are {', '.join(SUITES)}")
    if find_spec("peft") is None:
        raise UserError(
            f"peft is not installed, and it is what speed is held against; install it with: {install_hint('peft')}"
        )
    held = True
    for name in names or SUITES:
        print(f"--- {name}: {SUITES[name]}", file=sys.stderr, flush=True)
        command = [sys.executable, str(benchmark_dir() / "speed" / f"{name}.py")]
        with TemporaryDirectory() as cache:  # decompositions of random weights are of no use to anybody
            own = os.environ | {"ANTIPASTO_CACHE": cache}
            done = subprocess.run(command, stdout=subprocess.PIPE if as_json else None, text=True, env=own)
        if done.returncode not in (0, NOT_HELD):
            raise UserError(f"benchmark/speed/{name}.py ended with exit code {done.returncode}; see above")
        if as_json and done.stdout.splitlines()[-1].endswith(".json"):  # else it measured nothing, and said why
            print(json.dumps(json.loads(Path(done.stdout.splitlines()[-1]).read_text(encoding="utf-8"))), flush=True)
        held &= done.returncode == 0
    return held


# ------------------------------------------------------------------ the page


def write_page() -> Path:
    """Write docs/speed.md anew, or outside a project results/speed/README.md, and return its path.

    Raises:
        UserError: no suite has been measured.
    """
    project, results = find_project(), project_root() / "results"
    if not any((results / "speed").glob("*/*.json")):
        raise UserError(f"{results / 'speed'} holds no figures; measure some with: antipasto-bench speed")
    place = project / PAGE if project else results / "speed" / "README.md"
    place.parent.mkdir(exist_ok=True)
    place.write_text(page(results), encoding="utf-8")
    return place


def page(results: Path) -> str:
    """docs/speed.md, from results/speed alone."""
    parts = [
        "# Speed\n\n"
        "Made by `antipasto-bench speed` from `results/speed`, where every turn of every arm is. Arms of a table took "
        "turns in one process; a figure is the median over turns, a ratio the median over its pairs, each of two arms "
        "in one turn. Only ratios are claimed: how fast a machine is, and what else it did, cancels in them. The floor "
        "of a step is the base's own, forward and backward, with the gradient ending where the adapter's does: at the "
        "first layer that it adapts.\n"
    ]
    for folder in sorted((results / "speed").glob("*/")):
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
        if not found:
            continue
        where = found[0]["provenance"]
        parts.append(f"## {where['hardware']}, {where['cores']} cores\n")
        for suite in sorted(found, key=lambda suite: list(SUITES).index(suite["suite"])):
            parts.append(_section(suite))
        absent = [name for name in SUITES if name not in {suite["suite"] for suite in found}]
        if absent:
            parts.append(f"Not measured on this machine: {', '.join(absent)}.\n")
    return "\n".join(parts)


def _section(suite: dict[str, Any]) -> str:
    where = suite["provenance"]
    commit = (where["git"]["commit"] or "an unknown commit")[:9] + (" and changes" if where["git"]["dirty"] else "")
    lines = [
        f"### {suite['suite']}: {suite['what']}\n",
        f"{suite['setting']} {where['threads']} threads, torch {where['packages']['torch']}, at {commit}.\n",
    ]
    if suite["claims"]:
        lines += ["| claim | ratio | bound | holds | pairs |", "| :-- | --: | --: | :-- | --: |"]
        for claim in suite["claims"]:
            holds = "yes" if claim["holds"] else "**no**"
            pairs = len(claim.get("pairs", [])) or ""
            lines.append(f"| {claim['what']} | {claim['ratio']:.3f} | {claim['bound']:g} | {holds} | {pairs} |")
        lines.append("")
    if suite["cells"]:
        lines += ["| arm | median | lowest | highest | unit |", "| :-- | --: | --: | --: | :-- |"]
        for cell in suite["cells"]:
            low, high = min(cell["values"]), max(cell["values"])
            lines.append(f"| {cell['arm']} | {cell['median']:,.4g} | {low:,.4g} | {high:,.4g} | {cell['unit']} |")
        lines.append("")
    return "\n".join(lines)
