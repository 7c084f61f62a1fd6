"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Variant = Annotated[str, typer.Argument(help="A variant's name; `antipasto-bench variants` lists them.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="`key=value` settings, such as rotate_basis=V rank=64 lr=5e-3 seed=0."),
]
RUN_ID = "RUN_ID"  # how help names a run
RUN_HELP = "A run id as `list` prints it, the beginning of one alone, or its last 8 digits."
RunName = Annotated[str, typer.Argument(metavar=RUN_ID, help=RUN_HELP)]
Places = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=PATH", help="Where files lie that were moved: model=PATH, data.train=PATH, ..."),
]
Preset = Annotated[str | None, typer.Option("--preset", "-p", help="nano, a hub preset, or a YAML file.")]
Results = Annotated[
    Path | None, typer.Option(help="Folder of the table and the items [results, in the project or the current folder].")
]
Outputs = Annotated[Path | None, typer.Option(help="Folder of logs, adapters and samples [outputs, beside results].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts: the last line, or one line a row.")]
Force = Annotated[bool, typer.Option("--force", help="Make runs again that the table already has.")]

TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run the Python files that the run's model brings; read them first.")
]

Workers = Annotated[int | None, typer.Option("--workers", "-w", min=1, help="Processes [one a visible GPU; else one].")]
WorkersPerGpu = Annotated[int | None, typer.Option("--workers-per-gpu", help="Processes that share a GPU [1].")]

SWEEP_WORDS = "VARIANT,... KEY=VALUE,..."  # how help names the words of a sweep
