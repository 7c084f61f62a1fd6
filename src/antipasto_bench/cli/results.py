"""`list`, `show`, `results verify` and `results rebuild`: what is recorded."""

from __future__ import annotations

import typer

from ..core.errors import UserError
from ..store.folders import Store
from . import options
from .output import print_record, print_records


def list_runs(as_json: options.AsJson = False, results: options.Results = None) -> None:
    """List every recorded run."""
    from ..store.evidence import read_results

    store = Store.of(results)
    records = read_results(store)
    if not records and not as_json:
        typer.echo(f"{store.table} holds no run yet; make one with: antipasto-bench demo")
    print_records(records, as_json)


def show(run_id: options.RunId, as_json: options.AsJson = False, results: options.Results = None) -> None:
    """Show all that is recorded of a run."""
    from ..store.table import find

    store = Store.of(results)
    record = find(store.table, run_id)
    if record is None:
        raise UserError(f"no run {run_id!r} in {store.table}; `antipasto-bench list` shows them all")
    print_record(record, as_json)


def verify(results: options.Results = None, outputs: options.Outputs = None) -> None:
    """Check that every row is whole and has its questions, and that all it says is what they and its config give."""
    from ..store.integrity import verify as find_problems

    if results is not None and outputs is None:  # those of the project are of other runs
        outputs = results.resolve().parent / "outputs"
    store = Store.of(results, outputs)
    problems = find_problems(store)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{store.results}: whole")


def rebuild(results: options.Results = None, outputs: options.Outputs = None) -> None:
    """Bring finished runs of outputs/ back that results/ lack or have damaged. What is whole stays as it is."""
    from ..store.rebuild import rebuild as bring_back

    rebuilt = bring_back(Store.of(results, outputs))
    for run_id in rebuilt.brought_back:
        typer.echo(f"brought back: {run_id}")
    for line in rebuilt.lost:
        typer.echo(f"not brought back: {' '.join(line.split())}")
    typer.echo(f"{len(rebuilt.brought_back)} runs brought back")
    if rebuilt.lost:
        raise typer.Exit(1)


def digests(results: options.Results = None) -> None:
    """Give rows of older versions the digests that new ones have, so that a damaged bit is noticed in them, too."""
    from ..store.add_digests import add_digests

    run_ids = add_digests(Store.of(results))
    typer.echo(f"{len(run_ids)} rows were given digests")
