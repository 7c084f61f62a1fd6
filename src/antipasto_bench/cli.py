"""The command line. Heavy imports wait until a command needs them, so that help comes at once."""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import UserError
from .paths import Store

if TYPE_CHECKING:
    from .config import RunConfig
    from .run import Outcome

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train adapters on MetaMathQA, score them on GSM8K through lm-eval, and compare them honestly.\n\n"
    "Settings are written `key=value`; `key=a,b,c` sweeps. A user's word wins over the preset, the preset over "
    "the variant's own defaults.",
)

WORDS_HELP = "`key=value` settings, such as rotate_basis=V rank=64 lr=5e-3 seed=0."
PresetOption = Annotated[str | None, typer.Option("--preset", "-p", help="nano, a hub preset, or a YAML file.")]
ResultsOption = Annotated[Path | None, typer.Option(help="Folder of the table and the items [results].")]
OutputsOption = Annotated[Path | None, typer.Option(help="Folder of logs, adapters and samples [outputs].")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts: the last line, or one line a row.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Make runs again that the table already has.")]


@app.command()
def run(
    variant: Annotated[str, typer.Argument(help="A variant's name; `antipasto-bench variants` lists them.")],
    words: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help=WORDS_HELP)] = None,
    preset: PresetOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    results: ResultsOption = None,
    outputs: OutputsOption = None,
) -> None:
    """Make one run: train, score, record.

    Example: `antipasto-bench run antipasto rotate_basis=V rank=64 --preset nano`
    """
    from .config import expand
    from .grammar import parse_words

    variants, axes = parse_words([variant, *(words or [])])
    runs = expand(variants, axes, preset)
    if len(runs) != 1:
        raise UserError(f"this names {len(runs)} runs; write `antipasto-bench sweep` to make them all")
    outcome = _execute(runs[0], Store.of(results, outputs), force)
    _say_outcome(outcome, as_json)
    if (outcome.row or {}).get("status") == "failed":
        raise typer.Exit(1)


@app.command()
def sweep(
    words: Annotated[list[str], typer.Argument(metavar="VARIANT,... KEY=VALUE,...", help="What to multiply out.")],
    preset: PresetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also make runs again that failed.")] = False,
    as_json: JsonOption = False,
    results: ResultsOption = None,
    outputs: OutputsOption = None,
) -> None:
    """Make every run of a product of settings, one after another, leaving out those that are done.

    Example: `antipasto-bench sweep antipasto,lora rotate_basis=V,U,both,none seed=0,1,2`
    """
    from .config import expand
    from .grammar import parse_words
    from .plan import plan

    variants, axes = parse_words(words)
    if not variants:
        raise UserError("name at least one variant, such as: antipasto-bench sweep lora,antipasto seed=0,1,2")
    store = Store.of(results, outputs)
    planned = plan(expand(variants, axes, preset), store)
    due = {"owed", "failed"} if retry_failed else {"owed"}
    counts = {state: sum(p.state == state for p in planned) for state in ("done", "failed", "owed")}
    summary = ", ".join(f"{n} {state}" for state, n in counts.items())
    if dry_run:
        for p in planned:
            typer.echo(
                json.dumps({"run_id": p.run.run_id, "state": p.state}) if as_json else f"{p.state:7}{p.run.run_id}"
            )
        if not as_json:
            typer.echo(f"{len(planned)} runs: {summary}")
        return
    typer.echo(f"{len(planned)} runs: {summary}", err=True)
    failed = refused = 0
    owed = [p for p in planned if p.state in due]
    for number, p in enumerate(owed, start=1):
        typer.echo(f"[{number}/{len(owed)}] {p.run.run_id}", err=True)
        try:
            outcome = _execute(p.run, store, force=p.state == "failed")
        except UserError as error:  # of this run alone: the others go on
            typer.echo(f"error: {error}", err=True)
            refused += 1
            continue
        failed += outcome.status == "failed"
        _say_outcome(outcome, as_json)
    if refused:
        raise UserError(f"{refused} of {len(owed)} runs cannot be made as asked, for the reasons above")
    if failed:
        typer.echo(f"{failed} of {len(owed)} runs failed; `antipasto-bench list` says why", err=True)
        raise typer.Exit(1)


@app.command()
def demo(results: ResultsOption = None, outputs: OutputsOption = None) -> None:
    """Compare three adapters and the untuned model on the embedded preset; a few minutes on two cores.

    Keeps its runs under outputs/demo, apart from the project's own results.
    """
    from .config import compose

    home = Store.of().outputs / "demo"
    store = Store.of(results or home / "results", outputs or home / "outputs")
    arms: list[tuple[str, dict[str, Any]]] = [
        ("base", {}),
        ("lora", {}),
        ("antipasto", {"rotate_basis": "V"}),
        ("antipasto", {"rotate_basis": "none"}),
    ]
    for variant, given in arms:
        _say_outcome(_execute(compose(variant, given, "nano"), store, force=False), as_json=False)
    typer.echo()
    _report(store, store.results.parent / "README.md")


@app.command()
def report(
    readme: Annotated[Path | None, typer.Option(help="The page to write into [README.md].")] = None,
    results: ResultsOption = None,
) -> None:
    """Write the comparison table into the README, between its markers, and print it."""
    from .paths import project_root

    _report(Store.of(results), readme or project_root() / "README.md")


def _report(store: Store, page: Path) -> None:
    from .report import render, write_into

    text = render(store)
    changed = write_into(page, text)
    typer.echo(text)
    typer.echo(f"{page}: {'written' if changed else 'already up to date'}", err=True)


@app.command("list")
def list_runs(as_json: JsonOption = False, results: ResultsOption = None) -> None:
    """List every recorded run."""
    from .results import read_table

    store = Store.of(results)
    rows = read_table(store.table).to_dicts()
    if as_json:
        for row in rows:
            typer.echo(json.dumps(_unfold(row)))
        return
    if not rows:
        typer.echo(f"{store.table} holds no run yet; make one with: antipasto-bench demo")
    width = max((len(row["run_id"]) for row in rows), default=0)
    for row in rows:
        score = row["error"] if row["status"] == "failed" else f"{_percent(row['test_accuracy'], row['test_stderr'])}"
        typer.echo(f"{row['run_id']:{width}}  {row['status']:6}  {score}")


@app.command()
def show(run_id: Annotated[str, typer.Argument(help="As `list` prints it.")], as_json: JsonOption = False,
         results: ResultsOption = None) -> None:  # fmt: skip
    """Show all that is recorded of a run."""
    from .results import find

    store = Store.of(results)
    row = find(store.table, run_id)
    if row is None:
        raise UserError(f"no run {run_id!r} in {store.table}; `antipasto-bench list` shows them all")
    if as_json:
        typer.echo(json.dumps(row))
        return
    import yaml

    typer.echo(
        yaml.safe_dump({k: v for k, v in row.items() if v is not None}, sort_keys=False, allow_unicode=True), nl=False
    )


@app.command()
def export(
    run_id: Annotated[str, typer.Argument(help="As `list` prints it.")],
    merged: Annotated[Path, typer.Option(metavar="DIR", help="Where to write a plain Hugging Face model folder.")],
    results: ResultsOption = None,
    outputs: OutputsOption = None,
) -> None:
    """Write a run's model with its adapter folded in, for any tool that loads Hugging Face models.

    Example: `antipasto-bench export RUN_ID --merged DIR`, then
    `lm_eval --include_path benchmark/tasks --tasks nano_metamath --model hf --model_args pretrained=DIR`
    """
    from .export import export_merged

    typer.echo(export_merged(run_id, merged, Store.of(results, outputs)))


@app.command()
def variants(as_json: JsonOption = False) -> None:
    """List the adapter variants, what each computes and the settings it has."""
    import dataclasses

    from antipasto import CONFIGS, REGISTRY

    from .config import BASE

    if not as_json:
        typer.echo(f"{BASE}\n    the untuned model\n")
    for name in sorted(REGISTRY):
        doc = (sys.modules[type(REGISTRY[name]).__module__].__doc__ or "").strip()
        settings = {
            f.name: f.default for f in dataclasses.fields(CONFIGS[name]) if f.default is not dataclasses.MISSING
        }
        if as_json:
            typer.echo(json.dumps({"variant": name, "about": doc, "settings": settings}))
            continue
        typer.echo(name)
        typer.echo("\n".join(f"    {line}".rstrip() for line in doc.splitlines()))
        typer.echo("    settings: " + "  ".join(f"{k}={v}" for k, v in settings.items()) + "\n")


@app.command()
def presets(as_json: JsonOption = False) -> None:
    """List the presets: what model, data and protocol each stands for."""
    from .config import load_preset, preset_names

    for name in preset_names():
        values = load_preset(name)
        if as_json:
            typer.echo(json.dumps({"preset": name} | values))
            continue
        batch = values["batch_size"] * values.get("grad_accum", 1)
        typer.echo(
            f"{name:14}{values['model']}, {values['data']['train']}, {', '.join(values['eval']['tasks'])}, "
            f"{values['steps']} steps x {batch}, {values['dtype']}, targets {', '.join(values['targets'])}"
        )


def _execute(run: RunConfig, store: Store, force: bool) -> Outcome:
    from .progress import Progress
    from .run import execute

    try:
        return execute(run, store, Progress(), force=force)
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was recorded for this run, start it again to make it", err=True)
        raise typer.Exit(130) from None


def _silence() -> None:
    """Other libraries' progress bars only on a terminal, their advice nowhere. They read this when imported."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _say_outcome(outcome: Outcome, as_json: bool) -> None:
    row = outcome.row or {}
    if outcome.status == "running":
        text = f"running in another process: {outcome.run_id}"
    elif row.get("status") == "failed":
        again = " (recorded earlier; --force makes it again)" if outcome.status == "done" else ""
        text = f"failed: {outcome.run_id}: {row['error']}{again}"
    else:
        word = "done already" if outcome.status == "done" else "done"
        seconds = "" if outcome.status == "done" else f", {row['total_s']:.0f} s"
        text = (
            f"{word}: {outcome.run_id}: test {_percent(row['test_accuracy'], row['test_stderr'])}, "
            f"{row['trained_parameters'] or 0:,} parameters{seconds}"
        )
    typer.echo(text, err=as_json)
    if as_json:
        typer.echo(json.dumps({"outcome": outcome.status, "run_id": outcome.run_id} | _unfold(row)))


def _unfold(row: dict[str, Any]) -> dict[str, Any]:
    """Nested columns as objects, wherever the row came from."""
    return {
        k: json.loads(v) if k in ("metrics", "config", "provenance") and isinstance(v, str) else v
        for k, v in row.items()
    }


def _percent(value: float | None, stderr: float | None) -> str:
    if value is None:
        return "no score"
    return f"{100 * value:.1f} %" if stderr is None else f"{100 * value:.1f} ± {100 * stderr:.1f} %"


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2, never a traceback."""
    _silence()
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        app()
    except UserError as error:
        _die(str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            _die(f"{error.strerror}; nothing was recorded: free some space and start it again")
        if error.filename is None:
            raise
        _die(f"{error.filename}: {error.strerror}")


def _die(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
