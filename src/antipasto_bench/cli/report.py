"""`report`, `demo` and `compare`: what the results say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..core.collection import no_collection
from ..core.fingerprint import files_at_rest
from ..store.folders import Store
from . import options
from .comparison_output import comparison_json, comparison_notes, comparison_text
from .output import echo, print_json, print_notice, print_outcome

SEEDS = [0, 1]  # of the demo: one says nothing of a method
DEMO = ("base", "lora", "antipasto rotate_basis=V", "antipasto rotate_basis=none")


def demo(words: options.Words = None, results: options.Results = None, outputs: options.Outputs = None) -> None:
    """Compare three adapters, two seeds each, and the untuned model on the embedded preset; five to ten minutes.

    Keeps its runs under outputs/demo, apart from the project's own results.

    Example: `antipasto-bench demo`, or in a shorter form `antipasto-bench demo steps=40 eval.limit=60 costs=false`
    """
    from ..core.errors import UserError
    from ..spec.compose import expand
    from ..spec.config import RunConfig
    from ..spec.grammar import parse_words
    from ..spec.keys import refuse_keys_without_effect
    from ..sweeps.distributed import execute_one

    home = Store.of().outputs / "demo"
    store = Store.of(results or home / "results", outputs or home / "outputs")
    runs: list[RunConfig] = []
    named: list[str] = []
    for arm in DEMO:
        variants, axes = parse_words([*arm.split(), *(words or [])])
        axes.setdefault("seed", SEEDS)
        if len(variants) > 1:
            raise UserError(f"demo has variants of its own; write `antipasto-bench sweep {variants[-1]}` for another")
        runs += expand(variants, axes, "nano")
        named += variants
    refuse_keys_without_effect(named, parse_words(words or [])[1])
    for run in runs:
        print_outcome(execute_one(run, store), as_json=False)
    echo("")
    _write_report(store, (home if results is None else store.results) / "README.md", store.results / "results.md")


def report(
    readme: Annotated[
        Path | None, typer.Option(help="The page to write into [README.md of the project; of other --results, theirs].")
    ] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(metavar="CSV", help="Published rows to show below, marked as such.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Print the whole tables in a terminal, too; with --latex, every arm.")
    ] = False,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every number of every arm as CSV, `-` prints; no page.")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the tables for a paper, `-` prints; no page.")
    ] = None,
    results: options.Results = None,
) -> None:
    """Render the results: the best settings into the README, every arm into docs/results.md (of other --results, into
    their results.md), drawings beside them, and results/report.html for a browser.

    A terminal shows a short table; a file or a pipe, or `--full`, the whole of them as Markdown. What has not changed
    is not written. `--csv` and `--latex` write one file each, and nothing else.

    Example: `antipasto-bench report`, `antipasto-bench report --full`, or `antipasto-bench report --latex table.tex`
    """
    from ..core.errors import UserError
    from ..core.paths import find_project

    store = Store.of(results, reads=True)
    if csv is not None or latex is not None:
        if readme is not None or reference:
            raise UserError("--csv and --latex write no page; leave out --readme and --reference")
        _write_tables(store, csv, latex, full=full)
        return
    project = find_project()
    own = project is not None and store.results == (project / "results").resolve()
    home = project if project is not None and own else store.results
    whole = home / "docs" / "results.md" if own else store.results / "results.md"
    repeats = whole.with_name("repeatability.md")
    _write_report(store, readme or home / "README.md", whole, reference or [], full=full, repeats=repeats)


STDOUT = Path("-")


@no_collection()
@files_at_rest()
def _write_tables(store: Store, csv: Path | None, latex: Path | None, *, full: bool) -> None:
    """The tables as CSV and as LaTeX, each into its file or to stdout."""
    from ..analysis.compared_sections import compared_sections
    from ..core.errors import UserError
    from ..core.files import write_bytes
    from ..report.csv_table import csv_table
    from ..report.latex_table import latex_tables

    if csv == latex:
        raise UserError(f"--csv and --latex both name {csv}; give each a file of its own")
    sections = compared_sections(store)
    texts = [(csv, csv_table(sections)), (latex, latex_tables(sections, full=full))]
    for path, text in texts:
        if path == STDOUT:
            echo(text, nl=False)
        elif path is not None:
            write_bytes(path, text.encode())
            print_notice(f"{path}: written")


@no_collection()
@files_at_rest()
def _write_report(
    store: Store,
    readme: Path,
    whole: Path,
    references: Sequence[Path] = (),
    *,
    full: bool = False,
    repeats: Path | None = None,
) -> None:
    from ..analysis.compared_sections import compared_sections, failures
    from ..core.text_table import terminal_width
    from ..report.html import HTML
    from ..report.overview import overview
    from ..report.write import write_report

    width = terminal_width()
    sections, failed = compared_sections(store), failures(store)
    text, changed = write_report(store, readme, whole, references, sections, repeats)
    short = width is not None and not full
    echo(f"{overview(sections, failed, width)}\n" if short else text)
    for path in (readme, whole, store.results / HTML, *([repeats] if repeats in changed else [])):
        print_notice(f"{path}: {'written' if path in changed else 'already up to date'}")
    if short:
        print_notice(f"every column, interval and learning rate: {whole}, or report --full; drawings and runs: {HTML}")


@no_collection()
@files_at_rest()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A run as `list` names it, or a quoted arm: 'lora lr=1e-2'.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    show: Annotated[int, typer.Option(min=0, help="Show this many questions that flipped each way.")] = 0,
    as_json: options.AsJson = False,
    results: options.Results = None,
    outputs: options.Outputs = None,
) -> None:
    """Compare two arms or runs on the same questions: difference, interval, p, and what flipped.

    Where words fit several arms, that of the preset's defaults is taken, and a line says which and how to name another.

    Example: `antipasto-bench compare lora "antipasto rotate_basis=V" --show 5`
    """
    from ..analysis.compare import answers, compare_two

    store = Store.of(results, outputs, reads=True)
    compared = compare_two(a, b, store)
    shown = {
        side: answers(compared, questions[:show], store) if show else []
        for side, questions in (("only_a", compared.only_a), ("only_b", compared.only_b))
    }
    if as_json:
        for line in comparison_notes(compared):
            print_notice(line)
        print_json(comparison_json(compared, shown))
    else:
        echo(comparison_text(compared, shown))
