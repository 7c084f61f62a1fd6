"""The commands under one name, and how a command ends.

Heavy imports wait inside the commands until one needs them, so that help comes at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from io import UnsupportedOperation
from typing import Annotated

import typer

from ..core.errors import Damaged, UserError
from ..core.quiet import silence_libraries
from .catalogue import presets, variants
from .costs import cache, cost, measure, speed
from .ending import ended, print_error
from .export import export
from .more import plan_more
from .noise import noise
from .report import compare, demo, report
from .reproduce import reproduce
from .results import digests, kinds, list_runs, rebuild, show, verify
from .run import run
from .sweep import status, sweep
from .tune import tune

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},  # of every command below
    help="Train adapters on MetaMathQA, score them on GSM8K through lm-eval, and compare them honestly.\n\n"
    "Settings are written `key=value`; `key=a,b,c` sweeps. A user's word wins over the preset, the preset over "
    "the variant's own defaults.\n\nFiles go to results/ and outputs/ of the project (the nearest folder upwards with "
    "benchmark/presets), or outside one to those of the current folder.",
)
results_app = typer.Typer(help="Look after the results.", no_args_is_help=True)

COMMANDS: dict[str, Callable[..., None]] = {  # in the order of the help
    "run": run,
    "sweep": sweep,
    "status": status,
    "tune": tune,
    "demo": demo,
    "report": report,
    "list": list_runs,
    "show": show,
    "export": export,
    "noise": noise,
    "reproduce": reproduce,
    "variants": variants,
    "compare": compare,
    "plan-more": plan_more,
    "speed": speed,
    "measure": measure,
    "cost": cost,
    "cache": cache,
    "presets": presets,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
results_app.command("verify")(verify)
results_app.command("rebuild")(rebuild)
results_app.command("add-digests")(digests)
results_app.command("add-kinds")(kinds)
app.add_typer(results_app, name="results")

DISTRIBUTIONS = ("antipasto-bench", "antipasto-adapters", "torch")  # the second one is the library `antipasto`


def version_line() -> str:
    """The version of this program, and of what its numbers depend on most, as they are installed."""
    bench, *others = [f"{name} {number}" for name in DISTRIBUTIONS if (number := _installed(name)) is not None]
    return f"{bench} ({', '.join(others)})"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_line())
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print versions and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself."""


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


READERS = (
    "status",
    "report",
    "list",
    "show",
    "compare",
    "plan-more",
    "measure",
)  # they fail where evidence was left out


def main() -> None:
    """Run the command line, and end the process.

    A user's mistake is one line on stderr and exit code 2, never a traceback; SIGINT and SIGTERM end a run in one line,
    with the exit code that shells expect. Evidence that could not be read is a line each, and exit code 1.
    """
    if sys.stderr is None:  # closed by whoever started this
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (open until the process ends)
    silence_libraries()
    damaged = set[str]()  # what was said of it: several readers of a file say the same

    def print_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        text = " ".join(str(message).split())
        if not issubclass(category, Damaged) or text not in damaged:
            print_error(f"warning: {text}")
        if issubclass(category, Damaged):
            damaged.add(text)

    warnings.showwarning = print_warning
    warnings.simplefilter("always", Damaged)
    code = ended(run_and_flush)
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    sys.exit(1 if damaged and command in READERS and code == 0 else code)


def run_and_flush() -> int:
    _require_place(sys.argv[1:])
    code = app(standalone_mode=False)  # what it raises is told in one line by `ended`
    sys.stdout.flush()  # else the interpreter would meet what cannot be written, and say so in its own way
    return code if isinstance(code, int) else 0


def _require_place(words: list[str]) -> None:
    """Refuse what no command can make sense of: an empty word, a current folder that is gone, no place to print to."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError("the current folder is gone; change into one that exists (cd)") from error
    if any(not word or (word.startswith("--") and word.endswith("=")) for word in words):
        raise UserError(
            "an argument is empty, perhaps by a shell variable that is not set; give a value or leave it out"
        )
    try:
        os.fstat(sys.stdout.fileno())
    except UnsupportedOperation:  # a stream that is no file, as in a notebook
        pass
    except (AttributeError, OSError) as error:
        raise UserError("stdout is closed; redirect it to a file or to /dev/null") from error
