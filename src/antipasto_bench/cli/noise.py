"""`noise`: how many answers of a run depend on the batch size."""

from __future__ import annotations

from typing import Annotated

import typer

from ..core.errors import UserError
from ..store.folders import Store
from . import options
from .output import echo, noise_json, noise_text, print_json


def noise(
    run: options.RunName,
    places: options.Places = None,
    batch_sizes: Annotated[str, typer.Option(metavar="N,N", help="Questions at once, of two passes.")] = "8,48",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions [as many as were scored].")] = None,
    as_json: options.AsJson = False,
    results: options.Results = None,
    outputs: options.Outputs = None,
) -> None:
    """Count the answers of a trained run that change with the number of questions at once; bfloat16 has some.

    Example: `antipasto-bench noise RUN_ID --batch-sizes 8,48 --limit 96`
    """
    from ..run.local_files import read_places
    from ..run.noise import measure_noise
    from ..run.progress import Progress
    from ..store.run_names import run_ids_named

    sizes, paths = _two_sizes(batch_sizes), read_places(places or [])
    store = Store.of(results, outputs, reads=True)
    (run_id,) = run_ids_named([run], store.table)
    measured = measure_noise(run_id, store, sizes, limit, Progress(), paths)
    echo(noise_text(measured), err=as_json)
    if as_json:
        print_json(noise_json(measured))


def _two_sizes(text: str) -> tuple[int, int]:
    try:
        first, second = map(int, text.split(","))
    except ValueError:
        first = second = 0
    if min(first, second) < 1:
        raise UserError(f"--batch-sizes={text}: expected two numbers of questions, such as 8,48")
    return first, second
