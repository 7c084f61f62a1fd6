"""`sweep` and `status`: many runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from ..core.errors import UserError
from ..store.folders import Store
from . import options
from .output import SweepPrinter, command_line, echo, print_plan


def sweep(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar=options.SWEEP_WORDS, help="What to multiply out; or a sweep file, and settings for all of its runs."
        ),
    ],
    preset: options.Preset = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also make runs again that failed.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Make no more than so many runs.")] = None,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="In random order, the same each time.")] = False,
    workers: options.Workers = None,
    workers_per_gpu: options.WorkersPerGpu = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="decided", help="Seed by seed, until every arm is."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin no run that would end later: 90s, 30m, 3h from now.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="WORDS", help="The arm that others are set against [lora]; a plan is settled.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Points below it that do not matter [2]; a plan is settled.")
    ] = None,
    as_json: options.AsJson = False,
    results: options.Results = None,
    outputs: options.Outputs = None,
) -> None:
    """Make every run of a product of settings, or of a sweep file, leaving out those that are done.

    Processes share a sweep: neither makes a run that another is making, be they `--workers` or started by hand. One
    that is stopped or dies loses nothing: its run goes on from the last checkpoint.

    With `--until decided` it begins with two seeds, and goes on seed by seed with each arm that is undecided.

    Example: `antipasto-bench sweep antipasto,lora rotate_basis=V,U,both,none seed=0,1,2`, or
    `antipasto-bench sweep benchmark/sweeps/nano.yaml --workers 2`, or on a Ray cluster (docs/cluster.md)
    `antipasto-bench sweep benchmark/sweeps/nano.yaml engine=ray address=auto`
    """
    from datetime import UTC, datetime

    from ..core.launcher import launched
    from ..spec.sweep import sweep_of
    from ..sweeps.budget import parse_budget
    from ..sweeps.command import SweepCommand, is_worker, refuse_with_until
    from ..sweeps.engine import engine_of
    from ..sweeps.plan import overview, plan
    from .settling import settle_plan

    if launched():
        raise UserError(
            "torchrun makes one run: `torchrun ... -m antipasto_bench run`; a sweep has --workers of its own"
        )
    store = Store.of(results, outputs)
    engine, words = engine_of(words, workers, workers_per_gpu)
    if until not in (None, "decided"):
        raise UserError(f"--until {until}: expected decided")
    ends = None if budget is None else datetime.now(UTC) + parse_budget(budget)
    runs = sweep_of(words, preset)
    runs = replace(runs, until_decided=(runs.until_decided or until is not None) and not is_worker())
    command = SweepCommand(words, preset, retry_failed, limit, shuffle, as_json, ends)
    if runs.until_decided:
        refuse_with_until(command, engine)
    if dry_run:
        planned = plan(runs, store)
        print_plan(planned, overview(planned, store), as_json)
        return
    from ..sweeps.sweep import run_sweep
    from ..sweeps.until import run_until_decided

    if not is_worker():
        settle_plan(runs, store, words[0] if runs.plan else "the plan", reference, margin)
    printer = SweepPrinter(as_json, command_line("report", results=results))
    if not runs.until_decided:
        raise typer.Exit(run_sweep(runs, store, engine, command, printer))
    from ..analysis.undecided import undecided_arms

    arms = {run.arm for run in runs.runs}
    code = run_until_decided(runs, store, engine, command, printer, lambda: [*undecided_arms(store, arms)])
    raise typer.Exit(code)


def status(
    words: Annotated[
        list[str] | None, typer.Argument(metavar=options.SWEEP_WORDS, help="A sweep, to see its plan.")
    ] = None,
    preset: options.Preset = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until Ctrl-C.")] = False,
    results: options.Results = None,
    outputs: options.Outputs = None,
) -> None:
    """Say which runs are being made, by whom and how far they are; of a sweep also what is done, failed and owed.

    Example: `antipasto-bench status benchmark/sweeps/nano.yaml --watch`
    """
    from ..spec.sweep import sweep_of
    from ..sweeps.engine import parse_engine
    from ..sweeps.status import status_lines
    from ..sweeps.status import watch as watch_lines

    store = Store.of(results, outputs)
    runs = sweep_of(parse_engine(words)[1], preset) if words else None
    if watch:
        watch_lines(lambda: status_lines(store, runs))
        return
    for line in status_lines(store, runs):
        echo(line)
