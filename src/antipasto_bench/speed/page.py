"""docs/speed.md: the figures of results/speed as tables."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import UserError
from ..core.files import write_bytes
from .recording import read_measured
from .suite import SUITES, MeasuredSuite

INTRODUCTION = (
    "# Speed\n\n"
    "Made by `antipasto-bench speed` from `results/speed`, where every turn of every arm is. Arms of a table took "
    "turns in one process; a figure is the median over turns, a ratio the median over its pairs, each of two arms "
    "in one turn. Only ratios are claimed: how fast a machine is, and what else it did, cancels in them. The floor "
    "of a step is the base's own, forward and backward, with the gradient ending where the adapter's does: at the "
    "first layer that it adapts. Delta_s is the variant that is furthest above it: it multiplies by all singular "
    "directions of each layer and back, which is at least as many products again as the layer's own. The suite `cards` "
    "is derived from counts, and says so.\n"
)


def write_page(results: Path, page: Path) -> None:
    """Write the page of a results folder to a file, in place of an earlier one.

    Raises:
        UserError: something else stands there.
    """
    text = render_page(results).encode()
    heading = INTRODUCTION.partition("\n")[0].encode()
    if page.is_dir() or (page.is_file() and page.stat().st_size and not page.read_bytes().startswith(heading)):
        raise UserError(f"{page} is no page of speed, and stays as it is; name another file with --page FILE")
    write_bytes(page, text)


def render_page(results: Path) -> str:
    """The page as Markdown, from the files in `results`/speed alone."""
    parts = [INTRODUCTION]
    for folder in sorted((results / "speed").glob("*/")):
        suites = [read_measured(path) for path in sorted(folder.glob("*.json"))]
        if not suites:
            continue
        origin = suites[0].provenance
        parts.append(f"## {origin.hardware}, {origin.cores} cores\n")
        for measured in sorted(suites, key=lambda measured: list(SUITES).index(measured.suite)):
            parts.append(_section(measured))
        absent = [name for name in SUITES if name not in {measured.suite for measured in suites}]
        if absent:
            parts.append(f"Not measured on this machine: {', '.join(absent)}.\n")
    return "\n".join(parts)


def _section(measured: MeasuredSuite) -> str:
    """One suite's heading, setting, claims and cells."""
    origin = measured.provenance
    commit = (origin.git.commit or "an unknown commit")[:9] + (" and changes" if origin.git.dirty else "")
    torch_version = (origin.packages or {}).get("torch")
    threads = f"{origin.threads} thread{'s' * (origin.threads != 1)}"
    lines = [
        f"### {measured.suite}: {measured.what}\n",
        f"{measured.setting} {threads}, torch {torch_version}, at {commit}.\n",
    ]
    if measured.claims:
        lines += ["| claim | ratio | bound | holds | pairs |", "| :-- | --: | --: | :-- | --: |"]
        for claim in measured.claims:
            holds, pairs = "yes" if claim.holds else "**no**", len(claim.pairs) or ""
            lines.append(f"| {claim.what} | {claim.ratio:.3f} | {claim.bound:g} | {holds} | {pairs} |")
        lines.append("")
    if measured.cells:
        lines += ["| arm | median | lowest | highest | unit |", "| :-- | --: | --: | --: | :-- |"]
        for cell in measured.cells:
            low, high = min(cell.values), max(cell.values)
            lines.append(f"| {cell.arm} | {cell.median:,.4g} | {low:,.4g} | {high:,.4g} | {cell.unit} |")
        lines.append("")
    return "\n".join(lines)
