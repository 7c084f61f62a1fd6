"""The comparison tables as Markdown, from results/ and nothing else.

Each model and protocol has a section of its own: runs that were trained or scored differently never share one. A row is
an arm, its seeds pooled; the untuned base has a row in every table of runs that were scored as it was. Every pair of
rows is compared on the same questions, and rows that the data cannot tell apart share a letter. Below stands each axis
that was swept.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import polars as pl

from ..analysis.arms import Arm
from ..analysis.compared_sections import ComparedSection, FailedRun
from ..analysis.comparisons import LEVEL, ComparedArm, points, unpaired
from ..analysis.conditions import mixed_conditions
from ..analysis.contamination import contamination
from ..analysis.sections import TriedRates
from ..core.errors import UserError
from ..core.files import atomically, read_regular
from ..core.text import printable
from ..store.record import Provenance, RunRecord
from .columns import REFERENCE, Column, columns, reference_of
from .markup import code, escaped

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TRIED = "Learning rates tried: valid % on the seeds that all had; the table shows the best"


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
    table = _table(lines[0], lines[1:], left=(lines[0][0],))
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
    parts += [_markdown(columns("scores"), section.arms), "", *conclusions(section)]
    parts += ["What each row costs, in the same order:", "", _markdown(columns("costs"), section.arms), ""]
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


def conclusions(section: ComparedSection) -> list[str]:
    """What the statistics allow to say, and what runs differ in; paragraphs with empty lines between them."""
    seen = " ".join(contamination(section.section.arms))
    notes = [note for note in (section.section.copies, seen, mixed_conditions(section.section.arms)) if note]
    return [*_statistics(section), *(line for note in notes for line in (escaped(note), ""))]


def _statistics(section: ComparedSection) -> list[str]:
    comparisons, arms = section.comparisons, section.section.arms
    first = []
    if comparisons is None:
        differ = unpaired(arms)
        why = "scores lie between right and wrong" if differ is None else f"questions differ. {escaped(differ)}"
        first.append(f"These rows are not compared: their {why}.")
    else:
        first.append("test % is accuracy ± one standard error, and 95 % its interval, over questions and seeds.")
    if any(arm.mean("test_loss") is not None for arm in arms):
        first.append("test loss is -log p of the reference solutions, in nats a token: lower is better.")
    if any(arm.mean("general_loss") is not None for arm in arms if not arm.untuned):
        first.append("forgets is the rise of the loss on general text, in nats a token.")
    if note := batches_note(arms):
        first.append(escaped(note))
    if comparisons is None or len(arms) < 2:
        return [" ".join(first), ""]
    if comparisons.leading:
        first.append("Bold: not separated from the first row.")
    notes = [
        f"Rows that share a letter in group are not separated by these data: of {len(comparisons.pairs)} pairs, "
        f"{len(comparisons.separated_pairs())} are, paired on the same questions and corrected for their number (Holm, "
        f"{LEVEL:g})."
    ]
    if comparisons.smallest is not None:
        notes.append(
            "The smallest difference that would be found four times in five, so corrected: "
            f"{points(comparisons.smallest)}."
        )
    reference = reference_of(arms)
    if reference is not None and sum(arm.variant == arms[reference].variant for arm in arms) > 1:
        chose = "validation chose" if arms[reference].mean("valid_accuracy") is not None else "has the lowest rank"
        notes.append(f"vs {REFERENCE} is against {escaped(arms[reference].name)}, which {chose}.")
    return [" ".join(first), "", " ".join(notes), ""]


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


def costs_note(section: ComparedSection) -> str:
    """What the measured costs were measured on; empty where none were."""
    records = [record for record in section.section.records if record.measured and record.priced_tokens is not None]
    if not records:
        return ""
    tokens = sorted({record.priced_tokens for record in records if record.priced_tokens is not None})
    sizes = " to ".join(f"{n:,}" for n in dict.fromkeys((tokens[0], tokens[-1])))
    machines = sorted({(p.costs or p).machine for p in map(_provenance, records)})
    return (
        f"fwd and bwd ms are medians over one batch of {sizes} tokens, in turns with the base; kept MB is what "
        f"autograd keeps for backward; measured in a process of its own on {' and '.join(machines)}."
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


def _markdown(shown: list[Column], rows: Sequence[ComparedArm]) -> str:
    cells = [[column.cell(row) for column in shown] for row in rows]
    filled = [i for i in range(len(shown)) if any(line[i].text for line in cells)]  # no column stands empty
    body = [
        tuple(f"**{escaped(line[i].text)}**" if line[i].best else escaped(line[i].text) for i in filled)
        for line in cells
    ]
    left = tuple(column.name for column in shown if column.left)
    return _table(tuple(shown[i].name for i in filled), body, left)


def _table(header: tuple[str, ...], lines: list[tuple[str, ...]], left: tuple[str, ...]) -> str:
    table = [header, *lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right = [name not in left for name in header]

    def row(cells: tuple[str, ...]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
    return "\n".join([row(header), rule, *map(row, lines)])


def write_into(readme: Path, text: str) -> bool:
    """Put the tables between the markers of a README; one that does not exist is begun.

    Returns:
        Whether the file changed.

    Raises:
        UserError: it has no markers, or is no text file.
    """
    try:
        old = read_regular(readme).decode() if readme.exists() else f"# Results\n\n{BEGIN}\n{END}\n"
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"{readme} cannot be read as text: {why}; name another with --readme FILE") from error
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{readme} has no place for the tables; put the lines {BEGIN} and {END} where they belong")
    new = f"{head}{BEGIN}\n\n{text}\n{END}{tail}"
    if readme.exists() and new == old:
        return False
    with atomically(readme) as partial:
        partial.write_bytes(new.encode())  # line ends beside the tables stay as they are
    return True
