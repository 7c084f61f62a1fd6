"""`export`: a run's model for other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import UserError
from ..store.folders import Store
from . import options
from .output import echo, export_notices, print_notice

if TYPE_CHECKING:
    from ..report.card import Form


class Dtype(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def export(
    run: options.RunName,
    places: options.Places = None,
    merged: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write a plain Hugging Face model folder.")
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="Of the merged weights [the run's own]; float32 rounds nothing away.")
    ] = None,
    peft: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write a PEFT LoRA folder.")] = None,
    trust_remote_code: options.TrustRemoteCode = False,
    results: options.Results = None,
    outputs: options.Outputs = None,
) -> None:
    """Write a run's model for other tools: with the adapter folded in, or the adapter alone as a LoRA.

    A merged model is rounded to its dtype, and what that loses of the adapter's effect is said on stderr; with
    `--dtype float32` it is nothing. A base model that was moved is named by `model=PATH`; its content is checked. The
    folder's README.md is a model card, as `show RUN_ID --card` prints it.

    Example: `antipasto-bench export RUN_ID --merged DIR`, then
    `lm_eval --include_path benchmark/tasks --tasks nano_metamath --model hf --model_args pretrained=DIR`;
    or `antipasto-bench export RUN_ID --peft DIR`, then `peft.PeftModel.from_pretrained(base, DIR)`
    """
    from ..run.export import export_merged, export_peft
    from ..run.local_files import read_places
    from ..store.run_names import run_ids_named

    if (merged is None) == (peft is None):
        raise UserError("give one of --merged DIR (a whole model) and --peft DIR (a LoRA folder)")
    store, paths = Store.of(results, outputs, reads=True), read_places(places or [])
    if dtype is not None and merged is None:
        raise UserError("--dtype is for --merged DIR; a LoRA folder has the adapter's own")
    (run_id,) = run_ids_named([run], store.table)
    if merged is not None:
        exported = export_merged(run_id, merged, store, dtype and dtype.value, paths, trust_remote_code)
        for notice in export_notices(exported):
            print_notice(notice)
        _write_card(run_id, exported.folder, store, "merged")
        echo(exported.folder)
    elif peft is not None:
        folder = export_peft(run_id, peft, store, paths, trust_remote_code)
        _write_card(run_id, folder, store, "peft")
        echo(folder)


def _write_card(run_id: str, folder: Path, store: Store, form: Form) -> None:
    from ..core.files import write_bytes
    from ..core.fingerprint import files_at_rest
    from ..report.card import CARD, card
    from ..run.export import finished_record

    with files_at_rest():
        write_bytes(folder / CARD, card(finished_record(run_id, store), store, form).encode())
