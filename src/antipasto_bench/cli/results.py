"""`list`, `show` and the commands of `results`: what is recorded."""

from __future__ import annotations

from typing import Annotated

import typer

from ..core.collection import no_collection
from ..core.fingerprint import files_at_rest
from ..store.folders import Store
from . import options
from .output import echo, print_notice, print_record, print_records


@no_collection()
@files_at_rest()
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
    from ..store.evidence import read_results
    from ..store.listing import select_records, sort_records

    store = Store.of(results, reads=True)
    records = read_results(store)
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


@no_collection()
@files_at_rest()
def show(
    run: options.RunName,
    as_card: Annotated[
        bool, typer.Option("--card", help="Print a model card: what a README.md on a model hub says of it.")
    ] = False,
    as_json: options.AsJson = False,
    results: options.Results = None,
) -> None:
    """Show all that is recorded of a run.

    Example: `antipasto-bench show RUN_ID`, or `antipasto-bench show RUN_ID --card`
    """
    from ..core.errors import UserError
    from ..store.run_names import run_named
    from ..store.table import read_records

    store = Store.of(results, reads=True)
    record = run_named(run, read_records(store.table), store.table)
    if not as_card:
        print_record(record, as_json)
        return
    if as_json:
        raise UserError("--card is Markdown with YAML in front; leave out --json")
    from ..report.card import card

    echo(card(record, store), nl=False)


@no_collection()
@files_at_rest()
def verify(results: options.Results = None, outputs: options.Outputs = None) -> None:
    """Check that every row is whole and has its questions, and that all it says is what they and its config give."""
    from ..store.add_digests import without_digests
    from ..store.integrity import verify as find_problems

    if results is not None and outputs is None:  # those of the project are of other runs
        outputs = results.resolve().parent / "outputs"
    store = Store.of(results, outputs, reads=True)
    problems = find_problems(store)
    for problem in problems:
        echo(problem)
    if problems:
        raise typer.Exit(1)
    echo(f"{store.results}: whole")
    if run_ids := without_digests(store):
        print_notice(
            f"rows without a digest, of which times, costs and settings are not checked: {len(run_ids)}, such as "
            f"{run_ids[0]}; `antipasto-bench results add-digests` gives them one"
        )


def rebuild(results: options.Results = None, outputs: options.Outputs = None) -> None:
    """Bring finished runs of outputs/ back that results/ lack or have damaged. What is whole stays as it is."""
    from ..store.rebuild import rebuild as bring_back

    rebuilt = bring_back(Store.of(results, outputs))
    for run_id in rebuilt.brought_back:
        echo(f"brought back: {run_id}")
    for line in rebuilt.lost:
        echo(f"not brought back: {' '.join(line.split())}")
    echo(f"{len(rebuilt.brought_back)} runs brought back")
    if rebuilt.lost:
        raise typer.Exit(1)


def digests(results: options.Results = None) -> None:
    """Give rows of older versions the digests that new ones have, so that a damaged bit is noticed in them, too."""
    from ..store.add_digests import add_digests

    run_ids = add_digests(Store.of(results, reads=True))
    echo(f"{len(run_ids)} rows were given digests")


def kinds(results: options.Results = None) -> None:
    """Record the kinds of test questions for runs that were made before kinds were, from benchmark/kinds/TASK.csv."""
    from ..run.kinds import add_kinds

    lines = add_kinds(Store.of(results, reads=True))
    for line in lines:
        echo(line)
    echo(f"{len(lines)} files of kinds were written")
