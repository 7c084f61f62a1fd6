"""The comparison tables as Markdown, from results/ and nothing else.

Each model and protocol has a section of its own: runs that were trained or scored differently never share one. A row is
an arm, its seeds pooled; the untuned base has a row in every table of runs that were scored as it was. Every arm has a
verdict against the reference of the plan. docs/results.md has every arm, and below each table each axis that was
swept; README has less (short_tables.py).
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import polars as pl

from ..analysis.arms import Arm
from ..analysis.choosing_notes import DivergedArm, choosing_notes, diverged_notes, rows_of_diverged
from ..analysis.compared_sections import ComparedArm, ComparedSection, FailedRun
from ..analysis.conditions import mixed_conditions
from ..analysis.contamination import contamination
from ..analysis.sections import TriedRates
from ..core.errors import UserError
from ..core.files import atomically, read_regular
from ..core.text import printable
from ..store.origins import Provenance
from ..store.record import RunRecord
from .cells import Column
from .columns import columns
from .diverged import diverged_cell
from .markup import code, escaped
from .timed import TIMED, Timed, ones
from .words import answer, reading, reference_note, unsearched

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TRIED = "Learning rates tried: valid % on the lowest seed that all have; the table shows the one in bold"


def markdown(
    sections: Sequence[ComparedSection],
    failed: Sequence[FailedRun],
    references: Sequence[Path] = (),
    figures: str | None = None,
) -> str:
    """All tables as Markdown; below them those of the reference files, marked as published elsewhere.

    Args:
        figures: the folder of the drawings as the page names it; no drawing is shown where None.

    Raises:
        UserError: a reference file cannot be read.
    """
    parts = [_section(section, figures) for section in sections]
    if failed:
        lines = (f"- {code(run_id)}: {escaped(error)}" for run_id, error in failed)
        parts.append("\n".join(["Failed runs, in no table:", "", *lines]))
    return "\n\n".join([*parts, *map(_published, references)]) + "\n"


def _published(path: Path) -> str:
    title, header, rows = published(path)
    lines = [tuple(map(escaped, line)) for line in (header, *rows)]
    table = markdown_table(lines[0], lines[1:], left=(lines[0][0],))
    return "\n".join([f"### {escaped(title)}", "", table])


class PublishedTable(NamedTuple):
    """A reference file as it stands: nothing in it was measured by this project."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def published(path: Path) -> PublishedTable:
    """The table of a CSV file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        frame = pl.read_csv(read_regular(path), infer_schema=False, comment_prefix="#").fill_null("")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: cannot be read as a reference table: {' '.join(str(error).split())[:200]}") from error
    title = f"Published elsewhere, not measured here: {path.name}"
    return PublishedTable(title, tuple(frame.columns), list(frame.iter_rows()))


def _section(section: ComparedSection, figures: str | None) -> str:
    parts = [f"### {escaped(section.title)}", ""]
    if figures and section.has_sizes:
        parts += [picture(figures, f"{section.slug}-pareto", "Test accuracy against trained parameters"), ""]
    parts += [arms_table(columns("scores"), section.arms, rows_of_diverged(section.section)), "", *conclusions(section)]
    parts += ["What each row costs, in the same order:", "", arms_table(columns("costs"), section.arms), ""]
    parts += [escaped(note), ""] if (note := costs_note(section)) else []
    line = (
        f"{escaped(trained_on(section.section.records))}; protocol {code(section.section.protocol)}, "
        f"{escaped(section.scored_by)}."
    )
    parts += [line]
    for ablation in section.ablations:
        parts += ["", f"#### Swept: {escaped(ablation.axis)}", ""]
        if figures:
            parts += [picture(figures, f"{section.slug}-{ablation.slug}", f"Test accuracy by {ablation.axis}"), ""]
        parts += [escaped(ablation.conclusion())]
    if section.section.tried:
        parts += [
            "",
            "<details>",
            f"<summary>{TRIED}</summary>",
            "",
            *map(tried_line, section.section.tried),
            "",
            "</details>",
        ]
    return "\n".join(parts)


def tried_line(rates: TriedRates) -> str:
    """The learning rates of an arm as an entry of a list, the chosen one in bold."""
    cells = [f"**{escaped(text)}**" if best else escaped(text) for text, best in rates.cells]
    lost = [*map(escaped, rates.lost)]
    return f"- {rates._replace(arm=escaped(rates.arm)).line(cells, lost)}"


def picture(folder: str, name: str, text: str) -> str:
    """A drawing that follows the reader's colour scheme."""
    folder, name, text = quote(folder), quote(name), printable(text, keep="")
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{folder}/{name}-dark.svg">'
        f'<img alt="{html.escape(text)}" src="{folder}/{name}.svg"></picture>'
    )


def conclusions(section: ComparedSection, *, bold: bool = True) -> list[str]:
    """What the statistics allow to say, and what runs differ in; paragraphs with empty lines between them.

    Args:
        bold: as `reading` has it.
    """
    paragraphs = [
        " ".join(answer(section)),
        " ".join(
            [*reading(section, bold=bold), *filter(None, [reference_note(section), batches_note(section.section.arms)])]
        ),
        " ".join([*diverged_notes(section.section), *choosing_notes(section.section), *unsearched(section)]),
        section.section.copies,
        " ".join(contamination(section.section.arms)),
        mixed_conditions(section.section.arms),
    ]
    return [line for paragraph in paragraphs if paragraph for line in (escaped(paragraph), "")]


def batches_note(arms: Sequence[Arm]) -> str:
    """Which rows were scored with how many questions at once; empty where all were scored alike, or no row says."""
    rows: dict[str, list[str]] = {}  # by the size in the end
    for arm in arms:
        for record in arm.records:
            size = None if record.provenance is None else record.provenance.eval_batch_size
            if size is not None and arm.name not in rows.setdefault(str(size), []):
                rows[str(size)].append(arm.name)
    if len(rows) < 2:
        return ""
    listed = "; ".join(f"{size} at once: {', '.join(names)}" for size, names in sorted(rows.items(), key=_rarest_first))
    return f"Rows were scored in batches of different sizes, on which answers can depend: {listed}."


def _rarest_first(rows: tuple[str, list[str]]) -> tuple[int, str]:
    size, names = rows
    return len(names), size


def costs_note(section: ComparedSection, timed: Sequence[Timed] = tuple(TIMED.values())) -> str:
    """What the measured costs are and were measured on; empty where none were.

    Args:
        timed: whose columns the table has.
    """
    records = [record for record in section.section.records if record.measured and record.priced_tokens is not None]
    if not records:
        return ""
    tokens = sorted({record.priced_tokens for record in records if record.priced_tokens is not None})
    sizes = " to ".join(f"{n:,}" for n in dict.fromkeys((tokens[0], tokens[-1])))
    machines = sorted({(p.costs or p).machine for p in map(_provenance, records)})
    names = " and ".join(each.header for each in timed if each.one_x(section.section.arms))
    return (
        f"{names}: ratios to the untuned model, timed in turns with it, since one minute of a machine is slower than "
        f"another; times are medians over one batch of {sizes} tokens. {ones(timed, section.section.arms)} kept MB is "
        f"what autograd keeps for backward. Measured in a process of its own on {' and '.join(machines)}."
    )


def _provenance(record: RunRecord) -> Provenance:
    assert record.provenance is not None, f"{record.run_id} has no result"
    return record.provenance


def trained_on(records: Sequence[RunRecord]) -> str:
    """The machines and the code that made some runs."""
    provenances = [_provenance(record) for record in records]
    commits = {(p.git.commit or "no commit")[:10] + ("+changes" if p.git.dirty else "") for p in provenances}
    machines = {p.machine for p in provenances}
    return f"Trained on {' and '.join(sorted(machines))}; code {', '.join(sorted(commits))}"


def arms_table(shown: list[Column], rows: Sequence[ComparedArm], diverged: Sequence[DivergedArm] = ()) -> str:
    """Some columns of some arms, and of those of which every run diverged; columns left out that are empty."""
    cells = [[column.cell(row) for column in shown] for row in rows]
    cells += [[diverged_cell(column, arm) for column in shown] for arm in diverged]
    filled = [i for i in range(len(shown)) if any(line[i].text for line in cells)]  # no column stands empty
    body = [
        tuple(f"**{escaped(line[i].text)}**" if line[i].best else escaped(line[i].text) for i in filled)
        for line in cells
    ]
    left = tuple(column.name for column in shown if column.left)
    return markdown_table(tuple(shown[i].name for i in filled), body, left)


def markdown_table(header: tuple[str, ...], lines: list[tuple[str, ...]], left: tuple[str, ...]) -> str:
    table = [header, *lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right = [name not in left for name in header]

    def row(cells: tuple[str, ...]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
    return "\n".join([row(header), rule, *map(row, lines)])


def write_into(page: Path, text: str) -> bool:
    """Put the tables between the markers of a page; one that does not exist is begun.

    Returns:
        Whether the file changed.

    Raises:
        UserError: as `check_place`.
    """
    old, head, tail = check_place(page)
    new = f"{head}{BEGIN}\n\n{text}\n{END}{tail}"
    if page.exists() and new == old:
        return False
    page.parent.mkdir(parents=True, exist_ok=True)
    with atomically(page) as partial:
        partial.write_bytes(new.encode())  # line ends beside the tables stay as they are
    return True


def check_place(page: Path) -> tuple[str, str, str]:
    """The text of a page, that before the place of its tables and that after it.

    Raises:
        UserError: it has no markers, or is no text file.
    """
    try:
        old = read_regular(page).decode() if page.exists() else f"# Results\n\n{BEGIN}\n{END}\n"
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"{page} cannot be read as text: {why}; name another with --readme FILE") from error
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{page} has no place for the tables; put the lines {BEGIN} and {END} where they belong")
    return old, head, tail
