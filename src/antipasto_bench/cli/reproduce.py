"""`reproduce`: a recorded run made again, and compared."""

from __future__ import annotations

from typing import Annotated

import typer

from ..store.folders import Store
from . import options
from .output import echo, print_json, print_notice


def reproduce(
    run: options.RunName,
    places: options.Places = None,
    record: Annotated[
        bool, typer.Option("--record", help="Add the outcome to results/reproduced.ndjson, which the report shows.")
    ] = False,
    accuracy: Annotated[
        float, typer.Option(min=0, max=100, metavar="POINTS", help="How far accuracy may be elsewhere.")
    ] = 10.0,
    loss: Annotated[
        float, typer.Option(min=0, max=100, metavar="NATS", help="How far the held-out loss a token may be elsewhere.")
    ] = 0.02,
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: options.AsJson = False,
    results: options.Results = None,
    outputs: options.Outputs = None,
) -> None:
    """Make a recorded run again and compare: its adapter, its answer to every question, and its held-out loss.

    On the same kind of machine, with the same threads and versions, the bits must be the same; elsewhere accuracy and
    loss must be near. Exit code 1 where they are not. It is made apart, below outputs/.reproduced, and gets no row; one
    that was interrupted goes on with the same command.

    Example: `antipasto-bench reproduce RUN_ID`, or `antipasto-bench reproduce RUN_ID --record`
    """
    from ..analysis.repeats import Tolerance, compare_repeat, in_words
    from ..core.signals import handle_signals
    from ..run.context import RunContext
    from ..run.local_files import read_places
    from ..run.repeat import make_again, repeatable_config, scratch_of, set_compared
    from ..store.repeats import add_repeat
    from ..store.run_names import run_named
    from ..store.table import read_records

    store, paths = Store.of(results, outputs, reads=True), read_places(places or [])
    recorded = run_named(run, read_records(store.table), store.table)
    config = repeatable_config(recorded, store, paths, trust_remote_code)
    scratch = scratch_of(recorded, store)
    with handle_signals() as stop:
        repeated = make_again(recorded, config, RunContext(scratch, stop=stop))
    compared = compare_repeat(recorded, repeated, store, scratch, Tolerance(accuracy / 100, loss))
    if record:
        add_repeat(compared, store)
    set_compared(scratch)
    for line in (recorded.run_id, *in_words(compared)):
        echo(line, err=as_json)
    if as_json:
        print_json(compared.to_json())
    print_notice(f"its files are in {scratch.results.parent}")
    if not compared.holds:
        raise typer.Exit(1)
