"""The comparison table, from what lies in results/ and nothing else.

One table a (model, protocol): runs that were trained or scored differently never share one. A row is an arm, its seeds
pooled; the untuned base has one in every table that it was scored like. Every pair of rows is compared on the same
questions, and what the data cannot tell apart shares a letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from .arms import Arm, Section, sections
from .config import BASE
from .errors import UserError
from .paths import Store
from .results import atomically, read_table
from .stats import Comparison, SeedNoise, compare, detectable, holm, letters, seed_noise, summarise

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HEADER = (
    "variant", "rank", "lr", "test %", "95 %", "group", "vs lora", "strict %", "valid %", "params", "+MACs/token",
    "adapter kB", "forgets", "train s", "seeds",
)  # fmt: skip
LEVEL = 0.05
REFERENCE = "lora"  # what every other row is set against


@dataclass(frozen=True)
class Verdict:
    """How the arms of a section compare, in their order there."""

    groups: list[str]  # letters: two arms share one if and only if they are not separated
    pairs: dict[tuple[int, int], Comparison]
    p: dict[tuple[int, int], float]  # corrected for how many pairs there are
    noise: SeedNoise

    def separated(self, i: int, j: int) -> bool:
        return self.p[min(i, j), max(i, j)] < LEVEL


def verdict(arms: list[Arm]) -> Verdict:
    """Every pair of arms, compared on the questions they share and corrected for the number of pairs.

    Raises:
        ValueError: a score is neither right nor wrong.
    """
    noise = seed_noise([arm.scores for arm in arms])
    pairs = {(i, j): compare(arms[i].scores, arms[j].scores, noise) for i, j in combinations(range(len(arms)), 2)}
    p = dict(zip(pairs, holm([pair.p for pair in pairs.values()]).tolist(), strict=True))
    matrix = np.zeros((len(arms), len(arms)), dtype=bool)
    for (i, j), value in p.items():
        matrix[i, j] = matrix[j, i] = value < LEVEL
    return Verdict(letters(matrix), pairs, p, noise)


def render(store: Store, references: Sequence[Path] = ()) -> str:
    """All tables as Markdown; below them those of the reference files, marked as published elsewhere.

    Raises:
        UserError: no run has been recorded, or a reference file cannot be read.
    """
    parts = [_section(section) for section in sections(store)]
    failed = read_table(store.table).filter(pl.col("status") == "failed")
    if not failed.is_empty():
        lines = [
            f"- `{run_id}`: {error}" for run_id, error in failed.select("run_id", "error").sort("run_id").iter_rows()
        ]
        parts.append("\n".join(["Failed runs, in no table:", "", *lines]))
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


def _section(section: Section) -> str:
    rows, arms = section.rows, section.arms
    # Runs on other questions, or with scores between right and wrong, stand side by side and are not compared.
    comparable = all(arm.binary for arm in arms) and len({arm.scores.shape[1] for arm in arms}) == 1
    found = verdict(arms) if comparable else None
    config = next((row["config"] for row in rows if row["variant"] != BASE), rows[0]["config"])
    scored = f"{' + '.join(config['eval']['tasks'])}, n = {rows[0]['test_n']}"
    batch = config["batch_size"] * config["grad_accum"]
    title = f"### {rows[0]['model']}: {config['steps']} steps x {batch}, {config['dtype']}, scored on {scored}"
    lines = [_line(arms, index, found) for index in range(len(arms))]
    parts = [title, "", _markdown(lines), "", *_conclusions(arms, found)]
    parts += [f"{_made_on(rows)}; protocol `{section.protocol}`."]
    if section.tried:
        summary = "<summary>Learning rates tried: valid % on the seeds that all had; the table shows the best</summary>"
        parts += ["", "<details>", summary, "", *section.tried, "", "</details>"]
    return "\n".join(parts)


def _line(arms: list[Arm], index: int, found: Verdict | None) -> tuple[str, ...]:
    arm, first = arms[index], arms[index].rows[0]

    def average(column: str, scale: float = 1, digits: int = 1) -> str:
        value = arm.mean(column)
        return "" if value is None else f"{scale * value:.{digits}f}"

    test, interval = f"{100 * arm.scores.mean():.1f}", ""
    if found is not None:
        summary = summarise(arm.scores, found.noise if first["seed"] is not None else None)
        test = f"{100 * summary.mean:.1f} ± {100 * summary.stderr:.1f}"
        interval = f"{100 * summary.low:.1f} - {100 * summary.high:.1f}"
    before, after = arm.mean("general_loss_base"), arm.mean("general_loss")
    return (
        arm.label,
        _rank(first),
        f"{first['lr']:g}" if first["lr"] else "",
        test,
        interval,
        found.groups[index] if found else "",
        _against_reference(arms, index, found),
        average("test_strict", 100),
        average("valid_accuracy", 100),
        f"{first['trained_parameters'] or 0:,}",
        f"{(first['added_macs_per_token'] or 0) / 1e6:.3g}M" if first["added_macs_per_token"] else "",
        average("adapter_bytes", 1e-3, 0),
        "" if before is None or after is None or first["variant"] == BASE else f"{after - before:+.2f}",
        average("train_s", digits=0),
        str(len(arm.rows)) if first["seed"] is not None else "",
    )


def _against_reference(arms: list[Arm], index: int, found: Verdict | None) -> str:
    """The difference to the reference in points, with its corrected p; empty where there is no one reference."""
    references = [i for i, arm in enumerate(arms) if arm.rows[0]["variant"] == REFERENCE]
    if found is None or len(references) != 1 or references[0] == index:
        return ""
    i, j = sorted((index, references[0]))
    difference = found.pairs[i, j].difference * (1 if i == index else -1)
    p = found.p[i, j]
    return f"{100 * difference:+.1f} (p {'< 0.001' if p < 0.001 else f'{p:.2g}'})"


def _conclusions(arms: list[Arm], found: Verdict | None) -> list[str]:
    """What the statistics allow to say, in sentences."""
    notes = [
        "test % is flexible-extract accuracy ± one standard error, and 95 % its interval, over questions and seeds; "
        "forgets is the rise of the loss on general text, in nats a token."
    ]
    if found is not None and len(arms) > 1:
        pairs = len(found.pairs)
        apart = sum(value < LEVEL for value in found.p.values())
        notes.append(
            f"Rows that share a letter in group are not separated by these data: of {pairs} pairs, {apart} are, paired "
            f"on the same questions and corrected for their number (Holm, {LEVEL:g})."
        )
        seeds = min((len(arm.rows) for arm in arms if arm.rows[0]["seed"] is not None), default=1)
        if seeds == 1 or found.noise.df:
            spread = median(pair.spread for pair in found.pairs.values())
            smallest = detectable(
                arms[0].scores.shape[1], spread, seeds, found.noise if seeds > 1 else None, LEVEL / pairs
            )
            told = f"{100 * smallest:.1f} points" if smallest <= 1 else "none at all"
            notes.append(f"The smallest difference that would be found four times in five, so corrected: {told}.")
        notes += _axes(arms, found)
    return [*(" ".join(notes[:1]), ""), *([" ".join(notes[1:]), ""] if notes[1:] else [])]


def _axes(arms: list[Arm], found: Verdict) -> list[str]:
    """For each variant with several settings in the table: which of them are separated."""
    said = []
    for variant in dict.fromkeys(arm.rows[0]["variant"] for arm in arms):
        members = [i for i, arm in enumerate(arms) if arm.rows[0]["variant"] == variant]
        if len(members) < 2:
            continue
        apart = [(i, j) for i, j in combinations(members, 2) if found.separated(i, j)]
        names = [
            arms[i].label.removeprefix(f"{variant} ") or f"rank {_rank(arms[i].rows[0])}" for i in range(len(arms))
        ]
        if not apart:
            said.append(f"No setting of {variant} is separated from another ({', '.join(names[i] for i in members)}).")
        else:
            told = "; ".join(f"{names[i]} from {names[j]}" for i, j in apart)
            said.append(f"Of the settings of {variant}, these are separated: {told}.")
    return said


def _rank(row: dict[str, Any]) -> str:
    """`full` where a variant takes every direction; empty where it has no rank."""
    if row["rank"] is not None:
        return str(row["rank"])
    return "full" if "r" in row["config"]["adapter"] and row["config"]["adapter"]["r"] is None else ""


def _made_on(rows: list[dict[str, Any]]) -> str:
    made = [row["provenance"] for row in rows]
    machines = sorted({f"{m['hardware']}, {m['device']}, {m['threads']} threads" for m in made})
    commits = sorted(
        {(m["git"]["commit"] or "no commit")[:10] + ("+changes" if m["git"]["dirty"] else "") for m in made}
    )
    return f"Times on {' and '.join(machines)}; code {', '.join(commits)}"


def _markdown(lines: list[tuple[str, ...]]) -> str:
    kept = [i for i in range(len(HEADER)) if any(line[i] for line in lines)]  # no column stands empty
    header, *body = (tuple(line[i] for i in kept) for line in (HEADER, *lines))
    return _table(header, body, left=("variant", "group"))


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
