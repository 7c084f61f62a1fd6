"""The command line. Heavy imports wait until a command needs them, so that help comes at once."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import UserError, disk_is_full
from ..core.quiet import quieten
from ..store.folders import Store

if TYPE_CHECKING:
    from ..core.signals import Stop
    from ..run.execute import Outcome
    from ..run.process_group import Group
    from ..spec.config import RunConfig
    from ..spec.sweep import Sweep
    from ..sweeps.scheduler import Order

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train adapters on MetaMathQA, score them on GSM8K through lm-eval, and compare them honestly.\n\n"
    "Settings are written `key=value`; `key=a,b,c` sweeps. A user's word wins over the preset, the preset over "
    "the variant's own defaults.\n\nFiles go to results/ and outputs/ of the project (the nearest folder upwards with "
    "benchmark/presets), or outside one to those of the current folder.",
)

WORDS_HELP = "`key=value` settings, such as rotate_basis=V rank=64 lr=5e-3 seed=0."
PresetOption = Annotated[str | None, typer.Option("--preset", "-p", help="nano, a hub preset, or a YAML file.")]
ResultsOption = Annotated[
    Path | None, typer.Option(help="Folder of the table and the items [results, in the project or the current folder].")
]
OutputsOption = Annotated[
    Path | None, typer.Option(help="Folder of logs, adapters and samples [outputs, beside results].")
]
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

    Example: `antipasto-bench run antipasto rotate_basis=V rank=64 --preset nano`; on four GPUs together
    `torchrun --nproc-per-node 4 -m antipasto_bench run antipasto --preset qwen3-0.6b`
    """
    from ..run.process_group import join, leave
    from ..spec.config import expand
    from ..spec.grammar import parse_words

    variants, axes = parse_words([variant, *(words or [])])
    runs = expand(variants, axes, preset)
    if len(runs) != 1:
        raise UserError(f"this names {len(runs)} runs; write `antipasto-bench sweep` to make them all")
    store, group = Store.of(results, outputs), join()
    if not group.leads:
        _follow(runs[0], store, group)
        leave(group)
        return
    outcome = _execute(runs[0], store, force, group)
    _say_outcome(outcome, as_json)
    leave(group)
    if (outcome.row or {}).get("status") == "failed":
        raise typer.Exit(1)


@app.command()
def sweep(
    words: Annotated[
        list[str], typer.Argument(metavar="VARIANT,... KEY=VALUE,...", help="What to multiply out; or a sweep file.")
    ],
    preset: PresetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also make runs again that failed.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Make no more than so many runs.")] = None,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="In random order, the same each time.")] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", min=1, help="Processes [one a visible GPU; else one].")
    ] = None,
    as_json: JsonOption = False,
    results: ResultsOption = None,
    outputs: OutputsOption = None,
) -> None:
    """Make every run of a product of settings, or of a sweep file, leaving out those that are done.

    Processes share a sweep: neither makes a run that another is making, be they `--workers` or started by hand. One
    that is stopped or dies loses nothing: its run goes on from the last checkpoint.

    Example: `antipasto-bench sweep antipasto,lora rotate_basis=V,U,both,none seed=0,1,2`, or
    `antipasto-bench sweep benchmark/sweeps/nano.yaml --workers 2`, or on a Ray cluster (docs/cluster.md)
    `antipasto-bench sweep benchmark/sweeps/nano.yaml engine=ray address=auto`
    """
    from datetime import UTC, datetime

    from ..run.process_group import launched
    from ..spec.sweep import sweep_of
    from ..sweeps.plan import estimate, plan, summary, told
    from ..sweeps.scheduler import Order, engine_of, make_all

    if launched():
        raise UserError(
            "torchrun makes one run: `torchrun ... -m antipasto_bench run`; a sweep has --workers of its own"
        )
    store = Store.of(results, outputs)
    how, words = engine_of(words)
    workers = workers or how.workers
    asked = sweep_of(words, preset)
    planned = plan(asked, store)
    seconds = estimate(planned, store)
    due = f", about {told(seconds)} of one process" if seconds else ""
    if dry_run:
        for p in planned:
            who = {} if p.claim is None else {"by": p.claim.who}
            line = {"run_id": p.run_id, "state": p.state} | who
            typer.echo(json.dumps(line) if as_json else f"{p.state:8}{p.run_id}{'  ' * bool(who)}{who.get('by', '')}")
        if not as_json:
            typer.echo(f"{len(planned)} runs: {summary(planned)}{due}")
        return

    def say(text: str) -> None:
        typer.echo(text, err=True)

    if "ANTIPASTO_SWEEP_BEGAN" not in os.environ:  # else whoever started this worker has said it
        say(f"{len(planned)} runs: {summary(planned)}{due}")
    began = os.environ.get("ANTIPASTO_SWEEP_BEGAN") or datetime.now(UTC).isoformat(timespec="seconds")
    order = Order(began if retry_failed else None, limit, 0 if shuffle else None)
    if "ANTIPASTO_SWEEP_BEGAN" not in os.environ and how.engine == "local":
        from ..sweeps.processes import visible_gpus

        spread = any(run.device_map == "auto" for run in asked.runs)  # over all GPUs, for one worker
        count = workers or (1 if spread else max(1, len(visible_gpus())))
        count = count if limit is None else min(count, limit)
        if count > 1:
            flags = {"--retry-failed": retry_failed, "--shuffle": shuffle, "--json": as_json}
            given = {"--preset": preset, "--results": store.results, "--outputs": store.outputs}
            options = [flag for flag, on in flags.items() if on]
            options += [word for name, value in given.items() if value is not None for word in (name, str(value))]
            limits = [] if limit is None else [limit // count + (i < limit % count) for i in range(count)]
            commands = [[*words, *options, *(["--limit", str(limits[i])] if limits else [])] for i in range(count)]
            _share(commands, asked, store, order, began, as_json)
            return
    from ..run.execute import execute
    from ..run.model_cache import Bases
    from ..run.progress import Progress

    bases = Bases()

    def report(outcome: Outcome) -> None:
        _say_outcome(outcome, as_json)

    with _stoppable() as stop:

        def make(run: RunConfig, failed_before: bool) -> Outcome:
            # Another worker may have made it again since it was planned: it is the table that says when it failed.
            retry_before = order.retry_before if failed_before else None
            outcome = execute(run, store, Progress(), retry_before=retry_before, stop=stop, bases=bases)
            report(outcome)
            return outcome

        if how.engine == "ray":
            from ..sweeps.ray_driver import make_all_on_ray

            how = how.model_copy(update={"workers": workers})
            tally = make_all_on_ray(asked, store, how, report, say, order, stop)
        else:
            tally = make_all(asked, store, make, say, order)
    waiting = sum(p.state == "waiting" for p in plan(asked, store))
    if waiting:
        say(f"{waiting} runs wait for the choice of a learning rate: its runs are being made elsewhere, or all failed")
    if tally.refused:
        raise UserError(f"{tally.refused} of {tally.made + tally.refused} runs could not be made, see above")
    if tally.failed:
        say(f"{tally.failed} of {tally.made} runs failed; `antipasto-bench list` says why")
        raise typer.Exit(1)


def _share(commands: list[list[str]], asked: Sweep, store: Store, order: Order, began: str, as_json: bool) -> None:
    from ..core.signals import Interrupted
    from ..sweeps.processes import share

    def say(text: str) -> None:
        row = text.partition(": ")[2]
        typer.echo(row if as_json and row.startswith("{") else text, err=not (as_json and row.startswith("{")))

    full = [[sys.executable, "-m", "antipasto_bench", "sweep", *words] for words in commands]
    try:
        found = share(full, asked, store, order, {"ANTIPASTO_SWEEP_BEGAN": began}, say)
    except Interrupted as error:
        typer.echo("interrupted; the workers have stopped, and the same command goes on from what is kept", err=True)
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(max([*found.codes, 1 if found.failed else 0]))


@app.command()
def status(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="VARIANT,... KEY=VALUE,...", help="A sweep, to see its plan.")
    ] = None,
    preset: PresetOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until Ctrl-C.")] = False,
    results: ResultsOption = None,
    outputs: OutputsOption = None,
) -> None:
    """Say which runs are being made, by whom and how far they are; of a sweep also what is done, failed and owed.

    Example: `antipasto-bench status benchmark/sweeps/nano.yaml --watch`
    """
    from ..spec.sweep import sweep_of
    from ..sweeps.scheduler import engine_of
    from ..sweeps.status import lines, watched

    store = Store.of(results, outputs)
    asked = sweep_of(engine_of(words)[1], preset) if words else None
    if watch:
        watched(lambda: lines(store, asked))
        return
    for line in lines(store, asked):
        typer.echo(line)


results_app = typer.Typer(help="Look after the results.", no_args_is_help=True)
app.add_typer(results_app, name="results")


@results_app.command()
def verify(results: ResultsOption = None) -> None:
    """Check that every row is whole and has its questions, and that they give what it says."""
    from ..store.integrity import verify as problems

    store = Store.of(results)
    found = problems(store)
    for line in found:
        typer.echo(line)
    if found:
        raise typer.Exit(1)
    typer.echo(f"{store.results}: whole")


@results_app.command()
def rebuild(results: ResultsOption = None, outputs: OutputsOption = None) -> None:
    """Bring finished runs of outputs/ back that results/ lack: rows, questions, dossiers. The rest stays as it is."""
    from ..store.integrity import rebuild as bring

    brought = bring(Store.of(results, outputs))
    for run_id in brought:
        typer.echo(f"brought back: {run_id}")
    typer.echo(f"{len(brought)} runs brought back")


@app.command()
def demo(
    words: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help=WORDS_HELP)] = None,
    results: ResultsOption = None,
    outputs: OutputsOption = None,
) -> None:
    """Compare three adapters and the untuned model on the embedded preset; a few minutes on two cores.

    Keeps its runs under outputs/demo, apart from the project's own results.

    Example: `antipasto-bench demo`, or in a shorter form `antipasto-bench demo steps=40 eval.limit=60 costs=false`
    """
    from ..spec.config import expand
    from ..spec.grammar import parse_words

    home = Store.of().outputs / "demo"
    store = Store.of(results or home / "results", outputs or home / "outputs")
    runs: list[RunConfig] = []
    for arm in ("base", "lora", "antipasto rotate_basis=V", "antipasto rotate_basis=none"):
        variants, axes = parse_words([*arm.split(), *(words or [])])
        if len(variants) > 1:
            raise UserError(f"demo has variants of its own; write `antipasto-bench sweep {variants[-1]}` for another")
        runs += expand(variants, axes, "nano")
    for run in runs:
        _say_outcome(_execute(run, store, force=False), as_json=False)
    typer.echo()
    _report(store, (home if results is None else store.results) / "README.md")


@app.command()
def report(
    readme: Annotated[
        Path | None, typer.Option(help="The page to write into [README.md of the project, else of results].")
    ] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(metavar="CSV", help="Published rows to show below, marked as such.")
    ] = None,
    results: ResultsOption = None,
) -> None:
    """Render the results: tables into the README, drawings beside them, and results/report.html for a browser.

    The tables are printed, too. What has not changed is not written.
    """
    from ..core.paths import find_project

    store = Store.of(results)
    _report(store, readme or (find_project() or store.results) / "README.md", reference or [])


def _report(store: Store, readme: Path, references: Sequence[Path] = ()) -> None:
    from ..report.write import HTML, publish

    text, changed = publish(store, readme, references)
    typer.echo(text)
    for path in (readme, store.results / HTML):
        typer.echo(f"{path}: {'written' if path in changed else 'already up to date'}", err=True)


@app.command("list")
def list_runs(as_json: JsonOption = False, results: ResultsOption = None) -> None:
    """List every recorded run."""
    from ..store.table import read_table

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
    from ..store.table import find

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
    merged: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write a plain Hugging Face model folder.")
    ] = None,
    peft: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write a PEFT LoRA folder.")] = None,
    results: ResultsOption = None,
    outputs: OutputsOption = None,
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
    typer.echo(export_merged(run_id, merged, store) if merged else export_peft(run_id, Path(str(peft)), store))


@app.command()
def variants(
    names: Annotated[list[str] | None, typer.Argument(metavar="VARIANT", help="Only these.")] = None,
    shape: Annotated[
        list[str] | None, typer.Option(metavar="OUTxIN", help="Count parameters on a layer of this shape.")
    ] = None,
    preset: PresetOption = None,
    as_json: JsonOption = False,
) -> None:
    """The catalogue: what each variant computes, trains, needs and costs, and what it is benchmarked with.

    Counts are for one target of each shape, with the benchmark's settings; 1024x3584 is Qwen3.5-0.8B's down_proj.
    """
    from ..spec.catalogue import entries, shape_of

    shapes = [shape_of(text) for text in shape or ["1024x3584"]]
    for entry in entries(names or None, shapes, preset):
        typer.echo(json.dumps(entry.to_dict()) if as_json else entry.card() + "\n")


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A run id, or a quoted arm: 'lora lr=1e-2'.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    show: Annotated[int, typer.Option(min=0, help="Show this many questions that flipped each way.")] = 0,
    as_json: JsonOption = False,
    results: ResultsOption = None,
    outputs: OutputsOption = None,
) -> None:
    """Compare two arms or runs on the same questions: difference, interval, p, and what flipped.

    Example: `antipasto-bench compare lora "antipasto rotate_basis=V" --show 5`
    """
    from ..analysis.compare import answers, duel

    store = Store.of(results, outputs)
    found = duel(a, b, store)
    shown = {
        side: answers(found, shas[:show], store) if show else []
        for side, shas in (("only_a", found.only_a), ("only_b", found.only_b))
    }
    c = found.found
    if as_json:
        counts = {"only_a": len(found.only_a), "only_b": len(found.only_b), "shown": shown}
        runs = {name: [row["run_id"] for row in arm.rows] for name, arm in (("a", found.a), ("b", found.b))}
        numbers = {k: getattr(c, k) for k in ("difference", "stderr", "low", "high", "p", "questions")}
        typer.echo(json.dumps(runs | numbers | counts))
        return
    for name, arm, s in (("A", found.a, found.summaries[0]), ("B", found.b, found.summaries[1])):
        lr = f" lr={arm.rows[0]['lr']:g}" if arm.rows[0]["lr"] else ""
        typer.echo(
            f"{name}      {arm.label}{lr}: {100 * s.mean:.1f} % (95 %: {100 * s.low:.1f} to {100 * s.high:.1f}), "
            f"{s.seeds} seed{'s' if s.seeds > 1 else ''}"
        )
    typer.echo(
        f"A - B  {100 * c.difference:+.1f} points (95 %: {100 * c.low:+.1f} to {100 * c.high:+.1f}), p = {c.p:.2g}, "
        f"{c.questions} questions"
    )
    typer.echo(f"right in A and wrong in B: {len(found.only_a)}; right in B and wrong in A: {len(found.only_b)}")
    for side, heading in (("only_a", "right in A, wrong in B"), ("only_b", "right in B, wrong in A")):
        for entry in shown[side]:
            typer.echo(f"\n--- {heading}\n{entry['prompt']}\n[right] {entry['target']}")
            typer.echo(f"[A]{entry['a'].rstrip()}\n[B]{entry['b'].rstrip()}")


@app.command()
def speed(
    suite: Annotated[list[str] | None, typer.Option(help="Only this one; may be given more than once.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Measure nothing; only write docs/speed.md anew.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure speed and memory against the base and against peft, on a quiet machine; bounds are ratios.

    Figures go to results/speed/HARDWARE, and from there into docs/speed.md. Exit code 1 where a claim does not hold.

    Example: `antipasto-bench speed --suite step`
    """
    from ..speed.harness import measure_suites, write_page

    held = True if page else measure_suites(suite or None, as_json)
    typer.echo(str(write_page()), err=True)
    if not held:
        raise typer.Exit(1)


@app.command()
def measure(
    run_ids: Annotated[list[str] | None, typer.Argument(metavar="RUN_ID", help="As `list` prints them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every finished run whose files are here.")] = False,
    costs: Annotated[bool, typer.Option("--costs", help="Times and memory instead; on a quiet machine.")] = False,
    general: Annotated[str | None, typer.Option(help="Texts to measure forgetting on [the preset's].")] = None,
    results: ResultsOption = None,
    outputs: OutputsOption = None,
) -> None:
    """Measure finished runs again, without training: what they forgot of general text and their dossiers, or costs.

    Example: `antipasto-bench measure --all --general texts.jsonl`, or `antipasto-bench measure --all --costs`
    """
    from ..report.cost_text import measured_line
    from ..run.remeasure import remeasure, remeasure_costs
    from ..store.table import read_table

    store = Store.of(results, outputs)
    chosen = list(run_ids or [])
    if costs and general is not None:
        raise UserError("--costs measures times and memory alone; leave out --general, or make two commands of it")
    if every:
        done = read_table(store.table).filter(status="ok")["run_id"]
        chosen += [run_id for run_id in done if costs or store.run_dir(run_id).exists()]
    if not chosen:
        raise UserError("name a run, or give --all; `antipasto-bench list` shows what there is")
    if costs:
        for row in remeasure_costs(chosen, store):
            typer.echo(f"{row['run_id']}: {measured_line(row)}")
        return
    for run_id in chosen:
        row = remeasure(run_id, store, general)
        lost = (
            "" if row["general_loss"] is None else f"{row['general_loss'] - row['general_loss_base']:+.3f} nats a token"
        )
        typer.echo(f"{run_id}: {lost or 'dossier written'}")


@app.command()
def cost(
    words: Annotated[list[str], typer.Argument(metavar="VARIANT,... KEY=VALUE,...", help="What to price.")],
    preset: PresetOption = None,
    meta: Annotated[bool, typer.Option("--meta", help="From shapes alone; no weight is loaded.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What adapters cost: parameters, added MACs a token and bytes from shapes; times and memory as measured here.

    Example: `antipasto-bench cost lora,antipasto rank=32,256 --meta --preset qwen3.5-0.8b`, or without `--meta` on the
    machine in question: `antipasto-bench cost lora,antipasto --preset nano`
    """
    from ..report.cost_text import card
    from ..run.shape_costs import cost_of_shapes
    from ..spec.config import expand
    from ..spec.grammar import parse_words

    variants, axes = parse_words(words)
    if not variants:
        raise UserError("name at least one variant, such as: antipasto-bench cost lora,antipasto --meta")
    runs = expand(variants, axes, preset)
    shapes = [cost_of_shapes(run) for run in runs]  # all of them first: a mistake costs no measurement
    for run, row in zip(runs, shapes, strict=True):
        if not meta:
            from ..run.costs import measure_alone

            row |= measure_alone(run)
        typer.echo(json.dumps(row) if as_json else card(row))


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove every entry.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the singular value decompositions that are kept on disk, or clear them.

    ANTIPASTO_CACHE names their folder (`off` keeps none), ANTIPASTO_CACHE_GB their bound.
    """
    from antipasto.svd_cache import cache_entries, cache_folder, cache_limit, clear_cache

    folder, limit = cache_folder(), cache_limit()
    sizes = [path.stat().st_size for path in cache_entries()]
    removed = clear_cache() if clear else 0
    if as_json:
        kept = {"entries": len(sizes) - removed, "bytes": 0 if clear else sum(sizes)}
        typer.echo(json.dumps({"folder": folder and str(folder), "limit_bytes": limit, "removed": removed} | kept))
    elif folder is None:
        typer.echo("ANTIPASTO_CACHE=off: nothing is kept")
    else:
        text = f"{folder}: {len(sizes)} SVDs, {sum(sizes) / 1e6:,.1f} MB of at most {limit / 1e6:,.0f} MB"
        typer.echo(f"{text}; removed" if clear else text)


@app.command()
def presets(as_json: JsonOption = False) -> None:
    """List the presets: what model, data and protocol each stands for."""
    from ..spec.config import load_preset, preset_names

    for name in preset_names():
        values = load_preset(name)
        if as_json:
            typer.echo(json.dumps({"preset": name} | values))
            continue
        batch = values["batch_size"] * values.get("grad_accum", 1)
        typer.echo(
            f"{name:14}{values['model']}, {values['data']['train']}, {', '.join(values['eval']['tasks'])}, "
            f"{values['steps']} steps x {batch}, {values['dtype']}"
        )


def _execute(run: RunConfig, store: Store, force: bool, group: Group | None = None) -> Outcome:
    from ..run.execute import execute
    from ..run.process_group import ALONE
    from ..run.progress import Progress

    with _stoppable() as stop:
        return execute(run, store, Progress(), force=force, stop=stop, group=group or ALONE)


def _follow(run: RunConfig, store: Store, group: Group) -> None:
    """What all but the first of the processes do that torchrun started; they speak of their own errors alone."""
    from ..core.errors import RunFailure
    from ..run.execute import follow

    warnings.showwarning = lambda *_, **__: None
    try:
        with _stoppable(quiet=True) as stop:
            follow(run, store, stop, group)
    except RunFailure:
        return  # the first says so; an exit code now would have torchrun stop it before it has
    except (UserError, RuntimeError) as error:
        typer.echo(f"process {group.index}: {error}", err=True)
        raise typer.Exit(1) from None


@contextmanager
def _stoppable(quiet: bool = False) -> Iterator[Stop]:
    """SIGINT and SIGTERM end the command in one line, and with the exit code that shells expect."""
    from ..core.signals import Interrupted, stoppable

    try:
        with stoppable() as stop:
            yield stop
    except Interrupted as error:
        where = f" {error.where}" if error.where else ""
        if not quiet:
            typer.echo(f"interrupted{where}; the same command goes on from what is kept of it", err=True)
        raise typer.Exit(error.exit_code) from None


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
    quieten()
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        app()
    except UserError as error:
        _die(str(error))
    except ValueError as error:
        from antipasto.config import AdapterError  # now that something of it was asked for

        if not isinstance(error, AdapterError):
            raise
        _die(str(error))
    except OSError as error:
        if disk_is_full(error):
            _die(f"{error.strerror}; nothing was recorded: free some space and start it again")
        if error.filename is None:
            raise
        _die(f"{error.filename}: {error.strerror}")


def _die(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
