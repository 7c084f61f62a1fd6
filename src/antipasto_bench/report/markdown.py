"""The comparison tables as Markdown, from what lies in results/ and nothing else.

One section a (model, protocol): runs that were trained or scored differently never share one. A row is an arm, its
seeds pooled; the untuned base has one in every table that it was scored like. Every pair of rows is compared on the
same questions, and what the data cannot tell apart shares a letter. Below, each axis that was swept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from ..analysis.compared_sections import Study
from ..analysis.comparisons import LEVEL, Row, points
from ..core.errors import UserError
from ..core.files import atomically
from ..spec.config import BASE
from .columns import Column, columns, reference_of

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TRIED = "Learning rates tried: valid % on the seeds that all had; the table shows the best"


def markdown(
    found: list[Study], failed: list[tuple[str, str]], references: Sequence[Path] = (), figures: str | None = None
) -> str:
    """All tables as Markdown; below them those of the reference files, marked as published elsewhere.

    Args:
        failed: run ids, and why.
        figures: the folder of the drawings as the page names it; no drawing is shown where None.

    Raises:
        UserError: a reference file cannot be read.
    """
    parts = [_section(study, figures) for study in found]
    if failed:
        lines = (f"- `{name}`: {escaped(why)}" for name, why in failed)
        parts.append("\n".join(["Failed runs, in no table:", "", *lines]))
    return "\n\n".join([*parts, *map(_published, references)]) + "\n"


def _published(path: Path) -> str:
    title, header, rows = published(path)
    lines = [tuple(map(escaped, line)) for line in (header, *rows)]
    title = f"### {title}"
    table = _table(lines[0], lines[1:], left=(lines[0][0],))
    return "\n".join([title, "", table])


def published(path: Path) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Title, header and rows of a CSV file as they stand in it: nothing here was measured by this project.

    Raises:
        UserError: it cannot be read.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False, comment_prefix="#").fill_null("")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: cannot be read as a reference table: {' '.join(str(error).split())[:200]}") from error
    return f"Published elsewhere, not measured here: {path.name}", tuple(frame.columns), list(frame.iter_rows())


def _section(study: Study, figures: str | None) -> str:
    parts = [f"### {escaped(study.title)}", ""]
    if figures and study.priced:
        parts += [picture(figures, f"{study.slug}-pareto", "Test accuracy against trained parameters"), ""]
    parts += [_markdown(columns("scores"), study.rows), "", *conclusions(study)]
    parts += ["What each row costs, in the same order:", "", _markdown(columns("costs"), study.rows), ""]
    parts += [told, ""] if (told := prices(study)) else []
    parts += [f"{made_on(study.section.rows)}; protocol `{study.section.protocol}`."]
    for ablation in study.ablations:
        parts += ["", f"#### Swept: {ablation.axis}", ""]
        if figures:
            parts += [picture(figures, f"{study.slug}-{ablation.axis}", f"Test accuracy by {ablation.axis}"), ""]
        parts += [escaped(ablation.conclusion())]
    if study.section.tried:
        parts += ["", "<details>", f"<summary>{TRIED}</summary>", "", *study.section.tried, "", "</details>"]
    return "\n".join(parts)


def picture(folder: str, name: str, told: str) -> str:
    """A drawing that follows the reader's colour scheme."""
    folder = quote(folder)
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{folder}/{name}-dark.svg">'
        f'<img alt="{told}" src="{folder}/{name}.svg"></picture>'
    )


def conclusions(study: Study) -> list[str]:
    """What the statistics allow to say, in paragraphs with empty lines between them."""
    found, arms = study.found, study.section.arms
    first = []
    if found is None:
        why = "scores lie between right and wrong" if not all(arm.binary for arm in arms) else "questions differ"
        first.append(f"These rows are not compared: their {why}.")
    else:
        first.append("test % is accuracy ± one standard error, and 95 % its interval, over questions and seeds.")
    if any(arm.mean("general_loss") is not None for arm in arms if arm.variant != BASE):
        first.append("forgets is the rise of the loss on general text, in nats a token.")
    if found is None or len(arms) < 2:
        return [" ".join(first), ""]
    if found.leading:
        first.append("Bold: not separated from the first row.")
    pairs = len(found.pairs)
    notes = [
        f"Rows that share a letter in group are not separated by these data: of {pairs} pairs, {len(found.apart())} "
        f"are, paired on the same questions and corrected for their number (Holm, {LEVEL:g})."
    ]
    if found.smallest is not None:
        notes.append(
            f"The smallest difference that would be found four times in five, so corrected: {points(found.smallest)}."
        )
    reference = reference_of(arms)
    if reference is not None and sum(arm.variant == arms[reference].variant for arm in arms) > 1:
        chose = "validation chose" if arms[reference].mean("valid_accuracy") is not None else "has the lowest rank"
        notes.append(f"vs lora is against {escaped(arms[reference].name)}, which {chose}.")
    return [" ".join(first), "", " ".join(notes), ""]


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
    body = [
        tuple(f"**{escaped(line[i].text)}**" if line[i].best else escaped(line[i].text) for i in kept) for line in cells
    ]
    left = tuple(column.name for column in shown if column.left)
    return _table(tuple(shown[i].name for i in kept), body, left)


_MARKUP = re.compile(r"[|*`]|<(?=\S)|&(?=#|\w+;)|\](?=\()")


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a table too; whatever a model or a file has put into it."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


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
