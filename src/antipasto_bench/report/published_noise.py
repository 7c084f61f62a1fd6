"""docs/published-noise.md: the published tables of benchmark/reference, and what one seed a row can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..analysis.published import (
    JudgedTable,
    PublishedRow,
    Repeats,
    interval,
    sd_from_pairs,
    units_needed,
    unpaired,
)
from .markdown import published
from .markup import escaped
from .published_words import (
    SHOWN,
    against_reference,
    closeness,
    first_place,
    heavy_tail,
    percent,
    points,
    sensitivity,
    span,
    surviving,
)

PEFT, LORA_LITE = "peft_metamathqa_llama-3.2-3B.csv", "lora_lite_qwen3.5-0.8b.csv"
QUESTIONS = 1319  # GSM8K's test set; benchmark/reference/README.md
RULE = ("--:", ":--", "--:", ":-:", "--:", ":--", "--:", ":--", "--:")
VERDICTS = {1: "better", 0: "undecided", -1: "worse"}

# Both are quoted; benchmark/reference/README.md says from where.
PEFT_REPEATS = Repeats(pairs=122, median=0.7, sd=1.27, largest=5.4)
SECOND_SEEDS = ((57.2, 56.2), (56.5, 57.5), (55.6, 56.9))  # % of lora-lite's rotation arms: V, U, both

CANNOT_TELL = (
    "Whether a method beats its neighbour: this takes several seeds of both, and each run's answers.",
    "Whether another learning rate would turn rows round: these are single settings, not the best of each method.",
    "Anything of another model, length of training or test set.",
    "`antipasto-bench` gives no verdict on its own tables of one seed. Here one is possible since the noise of runs is "
    "taken from elsewhere, and taken to be the same for every row.",
)


def read_rows(path: Path, name: str, accuracy: str, scale: float = 1.0) -> list[PublishedRow]:
    """The rows of a reference file.

    Args:
        name: the column of names.
        accuracy: the column of test accuracies.
        scale: what an accuracy of 1 is in that column.

    Raises:
        UserError: it cannot be read.
    """
    _, header, lines = published(path)
    i, j = header.index(name), header.index(accuracy)
    return [PublishedRow(_short(line[i]), float(line[j]) / scale, QUESTIONS) for line in lines]


def _short(name: str) -> str:
    """PEFT's name of an experiment without the model, which is the same in all."""
    return name.replace("--llama-3.2-3B-", " ")


def peft_table(reference: Path) -> JudgedTable:
    """PEFT's method comparison, against its plain LoRA of rank 32.

    Args:
        reference: the folder benchmark/reference.
    """
    rows = read_rows(reference / PEFT, "experiment", "test_acc")
    return JudgedTable.of(rows, "lora rank32", PEFT_REPEATS.run_sd / 100)


def lora_lite_table(reference: Path) -> JudgedTable:
    """lora-lite's table, against its LoRA."""
    rows = read_rows(reference / LORA_LITE, "variant", "test_pct", scale=100)
    return JudgedTable.of(rows, "lora", sd_from_pairs(SECOND_SEEDS)[0] / 100)


def render_page(reference: Path) -> str:
    """The page as Markdown, from the files of benchmark/reference alone."""
    peft, lite = peft_table(reference), lora_lite_table(reference)
    parts = [
        "# Published tables of one seed: what they can tell",
        "Made by `scripts/published_noise.py` from [benchmark/reference](../benchmark/reference/README.md), which says "
        "where each figure was published. None of them was measured here.",
        _listed([first_place(peft), against_reference(peft), closeness(peft)]),
        "## PEFT's method comparison",
        f"Llama-3.2-3B on MetaMathQA, GSM8K test, one seed a row; {_versions(reference / PEFT)}. The reference is "
        "plain LoRA of rank 32.",
        _table(peft, SHOWN),
        _reading(peft),
        _listed([span(peft), surviving(peft)]),
        "## lora-lite",
        "Qwen3.5-0.8B-Base on MetaMathQA, GSM8K test, one seed a row, accuracies rounded to 0.1 points.",
        _listed([first_place(lite), against_reference(lite), closeness(lite), span(lite), surviving(lite)]),
        _table(lite, len(lite.rows)),
        "## The arithmetic",
        _listed(_arithmetic(peft)),
        "What shows a true difference four times in five, in a planned comparison and as the first of "
        f"{len(peft.rows) - 1}; in brackets with {PEFT_REPEATS.run_sd_from_sd:.2f} points in place of "
        f"{PEFT_REPEATS.run_sd:.2f}:",
        _costs(len(peft.rows) - 1),
        "The seeds suffice for a claim about these very questions, every answer paired, where the standard deviation "
        "is known: one or two more where the rows' own seeds must tell it. The questions are for one run each near "
        "50 %, unpaired, and leave aside the noise of runs, which more questions do not lower.",
        "## What these tables cannot tell",
        _listed(CANNOT_TELL),
    ]
    return "\n\n".join(parts) + "\n"


def _versions(path: Path) -> str:
    """Which rows were made by which version of peft."""
    _, header, lines = published(path)
    counts = Counter(line[header.index("peft_version")] for line in lines)
    return ", ".join(f"{count} of peft {escaped(version)}" for version, count in counts.most_common())


def _reading(table: JudgedTable) -> str:
    return (
        f"accuracy is of {QUESTIONS} questions, its 95 % (Wilson's) is over questions and holds for this run alone. "
        f"less {escaped(table.reference.name)} is in points, with the 95 % of independent proportions and of the noise "
        "of runs, for that comparison alone. Verdicts are corrected for all rows against the reference, ranks for all "
        "pairs of rows (Holm, 0.05). At best: as if pairing removed all that the choice of questions adds."
    )


def _arithmetic(table: JudgedTable) -> list[str]:
    p, repeats, comparisons = table.reference.accuracy, PEFT_REPEATS, len(table.rows) - 1
    alone, both, best = points(table.needed(seed_sd=0)), points(table.needed()), points(table.needed_at_best())
    sd, low, high = sd_from_pairs(SECOND_SEEDS)
    return [
        f"**Questions.** All rows answered the same {QUESTIONS}, but which ones they got right is not published, so "
        f"two rows are compared as independent samples: ± {alone} points near {percent(p)}. An interval paired on the "
        "questions would be narrower, since questions that are hard for one row are hard for others.",
        f"**Runs.** A study of the history of PEFT's results reports {repeats.pairs} pairs of runs of one config and "
        f"one seed: they differ by a median of {repeats.median} points, a standard deviation of {repeats.sd} and at "
        f"most {repeats.largest}. The pairs themselves are not in this repository. If normal, the median makes a run's "
        f"standard deviation {repeats.median} / (0.6745 √2) = {repeats.run_sd:.2f} points, which is used above, and "
        f"the standard deviation makes it {repeats.run_sd_from_sd:.2f}. {heavy_tail(repeats)} The seed was the same in "
        "each pair: other seeds may differ by more.",
        sensitivity(table, repeats.run_sd_from_sd / 100),
        f"**lora-lite** published second seeds of three arms. sqrt(mean d² / 2) of the differences d is {sd:.2f} "
        f"points (95 %: {low:.2f} to {high:.2f}); its table is judged with that.",
        f"**Both.** With the noise of runs, a row must differ by {both} points from the reference. That noise is added "
        "whole, though a part of it, chance in single answers, is in the questions' part already: unpaired, what is "
        f"needed lies between {alone} and {both}.",
        f"**At best** two methods find exactly the same questions hard. {best} points, the noise of runs, are then "
        "left, which no answers of one run each make less.",
        f"**Correction.** The first of {comparisons} comparisons with the reference needs "
        f"{points(table.needed(comparisons))} points as published, and {points(table.needed_at_best(comparisons))} at "
        "best.",
    ]


def _costs(comparisons: int) -> str:
    sds = PEFT_REPEATS.run_sd / 100, PEFT_REPEATS.run_sd_from_sd / 100
    kinds = [f"{unit}, {how}" for unit in ("seeds of each row", "questions") for how in ("planned", "first of many")]
    lines = [f"| points | {' | '.join(kinds)} |", "| --: | --: | --: | --: | --: |"]
    for d in (1, 2, 4):
        seeds = [[units_needed(d / 100, 2 * sd**2, m) for sd in sds] for m in (1, comparisons)]
        questions = [units_needed(d / 100, 0.5, m) for m in (1, comparisons)]  # 2 p (1 - p) at 50 %
        cells = [*(f"{few} ({more})" for few, more in seeds), *(f"{n:,}" for n in questions)]
        lines.append(f"| {d} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(table: JudgedTable, shown: int) -> str:
    """The first rows, and the reference where it is not among them."""
    header = ["", "row", "accuracy %", "95 %", f"less {escaped(table.reference.name)}", "as published", "rank"]
    lines = [f"| {' | '.join([*header, 'at best', 'rank at best'])} |", f"| {' | '.join(RULE)} |"]
    for place, row in enumerate(table.rows):
        itself = row == table.reference
        if place >= shown and not itself:
            continue
        low, high = interval(row)
        cells = [str(place + 1), escaped(row.name), points(row.accuracy), f"{points(low)} to {points(high)}"]
        cells.append("" if itself else _difference(row, table))
        for standing in (table.unpaired[place], table.at_best[place]):
            first, last = standing.ranks
            cells += ["" if itself else VERDICTS[standing.verdict], f"{first} to {last}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _difference(row: PublishedRow, table: JudgedTable) -> str:
    d = unpaired(row, table.reference, table.seed_sd)
    return f"{100 * d.difference:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})"


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences if sentence)
