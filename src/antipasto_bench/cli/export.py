"""`export`: a run's model for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import UserError
from ..store.folders import Store
from . import options


def export(
    run_id: options.RunId,
    merged: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write a plain Hugging Face model folder.")
    ] = None,
    peft: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write a PEFT LoRA folder.")] = None,
    results: options.Results = None,
    outputs: options.Outputs = None,
) -> None:
    """Write a run's model for other tools: with the adapter folded in, or the adapter alone as a LoRA.

    Example: `antipasto-bench export RUN_ID --merged DIR`, then
    `lm_eval --include_path benchmark/tasks --tasks nano_metamath --model hf --model_args pretrained=DIR`;
    or `antipasto-bench export RUN_ID --peft DIR`, then `peft.PeftModel.from_pretrained(base, DIR)`
    """
    from ..run.export import export_merged, export_peft

    if (merged is None) == (peft is None):
        raise UserError("give one of --merged DIR (a whole model) and --peft DIR (a LoRA folder)")
    store = Store.of(results, outputs)
    if merged is not None:
        typer.echo(export_merged(run_id, merged, store))
    elif peft is not None:
        typer.echo(export_peft(run_id, peft, store))
