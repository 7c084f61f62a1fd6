"""The comparison tables as Markdown, from what lies in results/ and nothing else.

One section a (model, protocol): runs that were trained or scored differently never share one. A row is an arm, its
seeds pooled; the untuned base has one in every table that it was scored like. Every pair of rows is compared on the
same questions, and what the data cannot tell apart shares a letter. Below, each axis that was swept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from .columns import Column, Row, columns, rank_of, reference_of
from .errors import UserError
from .paths import Store
from .results import atomically
from .study import Study, failures, studies
from .verdict import LEVEL, points

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def render(store: Store, references: Sequence[Path] = (), figures: str | None = None) -> str:
    """All tables as Markdown; below them those of the reference files, marked as published elsewhere.

    Args:
        figures: the folder of the drawings as the page names it; no drawing is shown where None.

    Raises:
        UserError: no run has been recorded, or a reference file cannot be read.
    """
    return markdown(studies(store), failures(store), references, figures)


def markdown(
    found: list[Study], failed: list[tuple[str, str]], references: Sequence[Path] = (), figures: str | None = None
) -> str:
    parts = [_section(study, figures) for study in found]
    if failed:
        parts.append("\n".join(["Failed runs, in no table:", "", *(f"- `{name}`: {why}" for name, why in failed)]))
    return "\n\n".join([*parts, *map(_published, references)]) + "\n"


def _published(path: Path) -> str:
    """Rows of a CSV file as they stand in it: nothing here was measured by this project."""
    try:
        frame = pl.read_csv(path, infer_schema=False, comment_prefix="#").fill_null("")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: cannot be read as a reference table: {' '.join(str(error).split())[:200]}") from error
    title = f"### Published elsewhere, not measured here: {path.name}"
    table = _table(tuple(frame.columns), list(frame.iter_rows()), left=(frame.columns[0],))
    return "\n".join([title, "", table])


def _section(study: Study, figures: str | None) -> str:
    parts = [f"### {study.title}", ""]
    if figures and study.found:
        parts += [picture(figures, f"{study.slug}-pareto", "Test accuracy against trained parameters"), ""]
    parts += [_markdown(columns("scores"), study.rows), "", *conclusions(study)]
    parts += ["What each row costs, in the same order:", "", _markdown(columns("costs"), study.rows), ""]
    parts += [prices(study), ""] if (prices(study)) else []
    parts += [f"{made_on(study.section.rows)}; protocol `{study.section.protocol}`."]
    for ablation in study.ablations:
        parts += ["", f"#### Swept: {ablation.axis}", ""]
        if figures:
            told = f"Test accuracy by {ablation.axis}"
            parts += [picture(figures, f"{study.slug}-{ablation.axis}", told), ""]
        parts += [ablation.conclusion()]
    if study.section.tried:
        summary = "<summary>Learning rates tried: valid % on the seeds that all had; the table shows the best</summary>"
        parts += ["", "<details>", summary, "", *study.section.tried, "", "</details>"]
    return "\n".join(parts)


def picture(folder: str, name: str, told: str) -> str:
    """A drawing that follows the reader's colour scheme."""
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{folder}/{name}-dark.svg">'
        f'<img alt="{told}" src="{folder}/{name}.svg"></picture>'
    )


def conclusions(study: Study) -> list[str]:
    """What the statistics allow to say, in paragraphs with empty lines between them."""
    first = [
        "test % is flexible-extract accuracy ± one standard error, and 95 % its interval, over questions and seeds; "
        "forgets is the rise of the loss on general text, in nats a token."
    ]
    found, arms = study.found, study.section.arms
    notes = []
    if found is not None and len(arms) > 1:
        if found.leading:
            first.append("Bold: not separated from the first row.")
        pairs = len(found.pairs)
        notes.append(
            f"Rows that share a letter in group are not separated by these data: of {pairs} pairs, "
            f"{len(found.apart())} are, paired on the same questions and corrected for their number (Holm, {LEVEL:g})."
        )
        if found.smallest is not None:
            notes.append(
                f"The smallest difference that would be found four times in five, so corrected: "
                f"{points(found.smallest)}."
            )
        reference = reference_of(arms)
        if reference is not None and sum(arm.variant == arms[reference].variant for arm in arms) > 1:
            notes.append(f"vs lora is against rank {rank_of(arms[reference].rows[0])}, which validation chose.")
    return [" ".join(first), "", *([" ".join(notes), ""] if notes else [])]


def prices(study: Study) -> str:
    """What the measured costs were measured on; empty where none were."""
    rows = [row for row in study.section.rows if row["base_forward_ms"] is not None]
    if not rows:
        return ""
    tokens = sorted({row["priced_tokens"] for row in rows})
    sizes = " to ".join(f"{n:,}" for n in dict.fromkeys((tokens[0], tokens[-1])))
    machines = sorted({_machine(row["provenance"].get("costs") or row["provenance"]) for row in rows})
    return (
        f"fwd and bwd ms are medians over one batch of {sizes} tokens, in turns with the base; kept MB is what "
        f"autograd keeps for backward; measured in a process of its own on {' and '.join(machines)}."
    )


def made_on(rows: list[dict[str, Any]]) -> str:
    made = [row["provenance"] for row in rows]
    commits = sorted(
        {(m["git"]["commit"] or "no commit")[:10] + ("+changes" if m["git"]["dirty"] else "") for m in made}
    )
    return f"Trained on {' and '.join(sorted(set(map(_machine, made))))}; code {', '.join(commits)}"


def _machine(made: dict[str, Any]) -> str:
    return f"{made['hardware']}, {made['device']}, {made['threads']} thread{'s' * (made['threads'] != 1)}"


def _markdown(shown: list[Column], rows: list[Row]) -> str:
    cells = [[column.cell(row) for column in shown] for row in rows]
    kept = [i for i in range(len(shown)) if any(line[i].text for line in cells)]  # no column stands empty
    body = [tuple(f"**{line[i].text}**" if line[i].best else line[i].text for i in kept) for line in cells]
    left = tuple(column.name for column in shown if column.left)
    return _table(tuple(shown[i].name for i in kept), body, left)


def _table(header: tuple[str, ...], lines: list[tuple[str, ...]], left: tuple[str, ...]) -> str:
    table = [header, *lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right = [name not in left for name in header]

    def row(cells: tuple[str, ...]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
    return "\n".join([row(header), rule, *map(row, lines)])


def write_into(page: Path, text: str) -> bool:
    """Put the tables between a page's markers; a page that does not exist is begun.

    Returns:
        Whether the page changed.

    Raises:
        UserError: the page has no markers.
    """
    old = page.read_text(encoding="utf-8") if page.exists() else f"# Results\n\n{BEGIN}\n{END}\n"
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{page} has no place for the tables; put the lines {BEGIN} and {END} where they belong")
    new = f"{head}{BEGIN}\n\n{text}\n{END}{tail}"
    if page.exists() and new == old:
        return False
    with atomically(page) as partial:
        partial.write_text(new, encoding="utf-8")
    return True
