"""`plan-more`: what would decide the comparisons that are undecided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.collection import no_collection
from ..core.fingerprint import files_at_rest
from ..store.folders import Store
from . import options
from .output import command_line, echo, print_json

if TYPE_CHECKING:
    from ..analysis.next_runs import NextRuns
    from ..analysis.plan_more import More, Undecided
    from ..core.json_types import Json

ONE_LOOK = (
    "Its plan is of one look: verdicts after more seeds are a second one, which raises the false rate. In new results, "
    "`sweep ... --until decided` settles a plan that holds it however often one looks."
)


@no_collection()
@files_at_rest()
def plan_more(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="VARIANT,... COLUMN=VALUE,...", help="Only these arms, as `list` takes them."),
    ] = None,
    margin: Annotated[float | None, typer.Option(help="Points that do not matter [that of the plan, or 2].")] = None,
    as_json: options.AsJson = False,
    results: options.Results = None,
) -> None:
    """Say how many seeds, or how many questions, would decide each arm that is undecided, and which runs to make next.

    For a power of 80 %, if the true difference is the one estimated now.

    Example: `antipasto-bench plan-more --margin 2`, or of some arms `antipasto-bench plan-more dora,hra`
    """
    from ..analysis import plan_more as analysis
    from ..analysis.compared_sections import compared_sections
    from ..analysis.next_runs import next_runs
    from ..analysis.plan import checked_plan
    from ..store.listing import select_records
    from ..store.table import read_records

    store = Store.of(results, reads=True)
    sections = compared_sections(store)
    if margin is not None:
        sections = [
            replace(section, plan=checked_plan({**vars(section.plan), "margin": margin}, "--margin"))
            for section in sections
        ]
    records = read_records(store.table)
    asked = {record.run_id for record in select_records(records, words)} if words else None
    for number, section in enumerate(sections):
        more = analysis.plan_more(section, asked)
        runs = next_runs(more.runs, records)
        if as_json:
            print_json(_json(more, runs, results))
        else:
            echo("\n" * (number > 0) + _text(more, runs, results))


def _text(more: More, runs: Sequence[NextRuns], results: Path | None) -> str:
    from ..analysis.plan_more import where_noise_comes_from
    from ..core.text_table import terminal_width, text_table

    section = more.section
    if not more.undecided:
        return f"{section.title}\n{_why_none(more)}"
    reference = more.undecided[0].reference.name
    header = ["arm", "points", "seeds", "runs", "time", "questions", "held-out loss"]
    left = {"arm", "held-out loss"}
    rows = [_row(each) for each in more.undecided]
    if all(each.loss is None for each in more.undecided):
        header, rows = header[:-1], [row[:-1] for row in rows]
    table = text_table(header, rows, left=left, width=terminal_width())
    lines = [
        section.title,
        f"undecided against {reference}, margin {section.plan.margin:g} points: the difference with its 95 % interval, "
        "and how many seeds an arm, or how many questions, decide it",
        table,
        *filter(None, [where_noise_comes_from(more.undecided)]),
        *([ONE_LOOK] if section.plan.looks == "one" and more.runs else []),
        *_commands(runs, results),
    ]
    return "\n".join(lines)


def _why_none(more: More) -> str:
    section = more.section
    if section.accuracy is None:
        return "its arms cannot be compared: questions differ, or answers are neither right nor wrong"
    if section.reference is None:
        return f"it has no arm that is the reference, {section.plan.reference!r}"
    if not section.verdicts:
        return "nothing may be concluded yet: the reference and another arm need two seeds each"
    return f"no arm that was asked for is undecided against {section.section.arms[section.reference].name}"


def _row(each: Undecided) -> list[str]:
    from ..analysis.plan_more import loss_says
    from ..analysis.projection import MOST_SEEDS
    from ..sweeps.plan import format_duration

    c, (own, of_reference) = each.verdict.comparison, each.runs
    return [
        each.arm.name,
        f"{100 * c.difference:+.1f} ({100 * c.low:+.1f} to {100 * c.high:+.1f})",
        f"over {MOST_SEEDS}" if each.seeds is None else str(each.seeds),
        "" if each.seeds is None else f"{own} + {of_reference}",
        "" if each.seconds is None else format_duration(each.seconds),
        "no number" if each.questions is None else f"{each.questions:,}",
        loss_says(each),
    ]


def _commands(runs: Sequence[NextRuns], results: Path | None) -> list[str]:
    """The commands of the runs that can be made, and a line for each reason why others cannot."""
    from ..sweeps.plan import format_duration

    if not runs:
        return []
    possible = [run for run in runs if run.problem is None]
    problems: dict[str, list[str]] = {}
    for run in runs:
        if run.problem is not None:
            problems.setdefault(run.problem, []).append(run.arm.name)
    lines = [f"no command for {', '.join(names)}: {problem}" for problem, names in problems.items()]
    if possible:
        count = sum(len(run.seeds) for run in possible)
        known = [run.seconds for run in possible if run.seconds is not None]
        time = f", about {format_duration(fsum(known))} of one process" if len(known) == len(possible) else ""
        lines.append(f"next, {count} run{'s' * (count != 1)}{time}:")
    return [*lines, *(_command(run, results) for run in possible)]


def _command(run: NextRuns, results: Path | None) -> str:
    return command_line(run.command, results=results)


def _json(more: More, runs: Sequence[NextRuns], results: Path | None) -> Json:
    from ..analysis.plan_more import where_noise_comes_from

    section = more.section
    reference = None if section.reference is None else section.section.arms[section.reference].name
    return {
        "section": section.title,
        "reference": reference,
        "margin": section.plan.margin,
        "looks": section.plan.looks,
        "comparisons": len(section.verdicts),
        "undecided": [_undecided_json(each) for each in more.undecided],
        "noise": where_noise_comes_from(more.undecided),
        "seconds": more.seconds,
        "next": [
            {
                "arm": run.arm.name,
                "seeds": run.seeds,
                "seconds": run.seconds,
                "command": None if run.problem else _command(run, results),
                "problem": run.problem,
            }
            for run in runs
        ],
    }


def _undecided_json(each: Undecided) -> Json:
    names = ("difference", "low", "high", "stderr")
    loss = each.loss
    return {
        "arm": each.arm.name,
        **{name: getattr(each.verdict.comparison, name) for name in names},
        "stderr_from_seeds": each.from_seeds,
        "stderr_from_questions": each.from_questions,
        "loss": None if loss is None else {"verdict": loss.word, "difference": loss.comparison.difference},
        "seeds": each.seeds,
        "runs": list(each.runs),
        "seconds": each.seconds,
        "questions": each.questions,
    }
