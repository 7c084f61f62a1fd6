"""`list`, `show`, `results verify` and `results rebuild`: what is recorded."""

from __future__ import annotations

from typing import Annotated

import typer

from ..store.folders import Store
from . import options
from .output import echo, print_record, print_records


def list_runs(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="VARIANT,... COLUMN=VALUE,...", help="Only these: `lora lr=1e-3 status=failed seed=0`."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Lowest first; `-COLUMN` highest first [as recorded].")
    ] = None,
    last: Annotated[int | None, typer.Option(min=1, metavar="N", help="The N that were recorded last.")] = None,
    as_json: options.AsJson = False,
    results: options.Results = None,
) -> None:
    """List the recorded runs: all of them, or those of some settings.

    A column is a setting or what `show` prints of a run. A terminal shortens ids; the last 8 digits name a run, too.

    Example: `antipasto-bench list variant=lora lr=1e-2 seed=0 --sort -test_accuracy`
    """
    from ..store.listing import select_records, sort_records
    from ..store.table import read_records

    store = Store.of(results, reads=True)
    records = read_records(store.table)
    if not records and not as_json:
        echo(f"{store.table} holds no run yet; make one with: antipasto-bench demo")
        return
    chosen = select_records(records, words or [])
    chosen = chosen[-last:] if last is not None else chosen
    chosen = chosen if sort is None else sort_records(chosen, sort)
    if not chosen and not as_json:
        echo(f"none of {len(records)} runs is that; `antipasto-bench list` shows them all")
        return
    print_records(chosen, as_json, [] if sort is None else [sort.removeprefix("-")])


def show(run: options.RunName, as_json: options.AsJson = False, results: options.Results = None) -> None:
    """Show all that is recorded of a run.

    Example: `antipasto-bench show RUN_ID`
    """
    from ..store.run_names import run_named
    from ..store.table import read_records

    store = Store.of(results, reads=True)
    print_record(run_named(run, read_records(store.table), store.table), as_json)


def verify(results: options.Results = None) -> None:
    """Check that every row is whole and has its questions, and that they give what it says."""
    from ..store.integrity import verify as find_problems

    store = Store.of(results, reads=True)
    problems = find_problems(store)
    for problem in problems:
        echo(problem)
    if problems:
        raise typer.Exit(1)
    echo(f"{store.results}: whole")


def rebuild(results: options.Results = None, outputs: options.Outputs = None) -> None:
    """Bring finished runs of outputs/ back that results/ lack: rows, questions, excerpts. The rest stays as it is."""
    from ..store.integrity import rebuild as bring_back

    run_ids = bring_back(Store.of(results, outputs))
    for run_id in run_ids:
        echo(f"brought back: {run_id}")
    echo(f"{len(run_ids)} runs brought back")
