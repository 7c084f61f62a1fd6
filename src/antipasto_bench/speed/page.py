"""docs/speed.md: the records of results/speed as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.files import write_bytes
from .suite import SUITES

INTRODUCTION = (
    "# Speed\n\n"
    "Made by `antipasto-bench speed` from `results/speed`, where every turn of every arm is. Arms of a table took "
    "turns in one process; a figure is the median over turns, a ratio the median over its pairs, each of two arms "
    "in one turn. Only ratios are claimed: how fast a machine is, and what else it did, cancels in them. The floor "
    "of a step is the base's own, forward and backward, with the gradient ending where the adapter's does: at the "
    "first layer that it adapts.\n"
)


def write_page(results: Path, page: Path) -> None:
    """Write the page of a results folder to a file, in place of what stands there."""
    write_bytes(page, render_page(results).encode())


def render_page(results: Path) -> str:
    """The page as Markdown, from the records in `results`/speed alone."""
    parts = [INTRODUCTION]
    for folder in sorted((results / "speed").glob("*/")):
        records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
        if not records:
            continue
        origin = records[0]["provenance"]
        parts.append(f"## {origin['hardware']}, {origin['cores']} cores\n")
        for record in sorted(records, key=lambda record: list(SUITES).index(record["suite"])):
            parts.append(_section(record))
        absent = [name for name in SUITES if name not in {record["suite"] for record in records}]
        if absent:
            parts.append(f"Not measured on this machine: {', '.join(absent)}.\n")
    return "\n".join(parts)


def _section(record: dict[str, Any]) -> str:
    """One suite's heading, setting, claims and cells."""
    origin = record["provenance"]
    commit = (origin["git"]["commit"] or "an unknown commit")[:9] + (" and changes" if origin["git"]["dirty"] else "")
    lines = [
        f"### {record['suite']}: {record['what']}\n",
        f"{record['setting']} {origin['threads']} threads, torch {origin['packages']['torch']}, at {commit}.\n",
    ]
    if record["claims"]:
        lines += ["| claim | ratio | bound | holds | pairs |", "| :-- | --: | --: | :-- | --: |"]
        for claim in record["claims"]:
            holds = "yes" if claim["holds"] else "**no**"
            pairs = len(claim.get("pairs", [])) or ""
            lines.append(f"| {claim['what']} | {claim['ratio']:.3f} | {claim['bound']:g} | {holds} | {pairs} |")
        lines.append("")
    if record["cells"]:
        lines += ["| arm | median | lowest | highest | unit |", "| :-- | --: | --: | --: | :-- |"]
        for cell in record["cells"]:
            low, high = min(cell["values"]), max(cell["values"])
            lines.append(f"| {cell['arm']} | {cell['median']:,.4g} | {low:,.4g} | {high:,.4g} | {cell['unit']} |")
        lines.append("")
    return "\n".join(lines)
